"""Matrix factorisation that draws its negatives on the device: the base of the MF baselines."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_hill.data.sampling import InteractionSampler
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.pair_products import pair_gradients
from recbole_hill.model.losses import bpr, squared_l2

#: With at most so many negatives per positive, all their vectors are gathered at once.
FEW = 4

#: From so many negatives per positive on, a CPU multiplies user by user: 3 times as fast as bmm.
MANY = 128

#: If a smaller share of the drawn items has a gradient, only the vectors of these are gathered.
SPARSE = 0.25


class DeviceSampling:
    """A mixin, listed before a RecBole model: draws negatives, and positives if asked, on device.

    The model's YAML sets ``train_neg_sample_args: ~``, so that RecBole draws none.

    Settings: ``n_negatives`` per positive; ``reject_positives`` (whether a user's train items are
    never drawn); ``positive_order`` (``interaction``: the loader's order; ``user``: users
    uniformly, then one of each user's items, LightGCN's order).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_negatives = config["n_negatives"]
        self.reject_positives = config["reject_positives"]
        order = config["positive_order"]
        self.user_uniform = order == "user"
        self.sampler = InteractionSampler(train_matrix(dataset))

    def draw(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Returns this step's users (B,), positive items (B,) and negative items (B, n)."""
        users, items = self.positives(interaction)
        negatives = self.sampler.negatives(users, self.n_negatives, reject=self.reject_positives)
        return users, items, negatives

    def positives(self, interaction) -> tuple[Tensor, Tensor]:
        """Returns this step's users (B,) and positive items (B,)."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        return self.sampler.positives(len(users)) if self.user_uniform else (users, items)


class SampledModel(DeviceSampling, EmbeddingModel):
    """An embedding model that draws its own samples; settings: :class:`DeviceSampling`'s."""


class MatrixFactorization(SampledModel):
    """User and item tables, initialised from N(0, ``init_std``), trained by BPR with an L2 term.

    A subclass changes how vectors are made from the tables, or the loss.

    Settings: :class:`DeviceSampling`'s, ``embedding_size``, ``init_std``, ``reg_weight``.
    """

    #: Whether the loss has an L2 term of weight ``reg_weight``. Every model has this key.
    has_l2: ClassVar[bool] = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]
        if self.reg_weight and not self.has_l2:
            raise ValueError(
                f"reg_weight must be left out for {type(self).__name__}, whose loss has no such "
                f"term, got {self.reg_weight!r}"
            )
        self.user_embedding = nn.Embedding(self.n_users, config["embedding_size"])
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        for table in (self.user_embedding, self.item_embedding):
            nn.init.normal_(table.weight, std=config["init_std"])

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the two tables."""
        return self.user_embedding.weight, self.item_embedding.weight

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR over the drawn negatives, plus half the squared norms of the batch's table rows."""
        return self.bpr_loss(users, items, *self.draw(interaction))

    def bpr_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        tables: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss of a draw.

        Args:
            users: Vectors of all users, shape (U, D), or of some.
            items: Vectors of all items, shape (I, D), or of some.
            user: Rows of ``users``, shape (B,).
            positive: Rows of ``items``, shape (B,).
            negative: Rows of ``items``, shape (B, n).
            tables: The table rows of the same users and items, if they are not all.
        """
        loss = self.ranking_loss(users, items, user, positive, negative)
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * self.batch_l2(user, positive, negative, tables)

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """BPR of a draw, without the L2 term."""
        query = F.embedding(user, users)
        if negative.shape[1] <= FEW:  # one gather has one dense gradient
            drawn = torch.cat((positive.unsqueeze(1), negative), 1)
            # A batch of B matrix products with two rows each would cost several times as much.
            scores = (query.unsqueeze(1) * F.embedding(drawn, items)).sum(2)
            return bpr(scores[:, :1], scores[:, 1:])
        scores = (query * items[positive]).sum(1, keepdim=True)
        return bpr(scores, SampledScores.apply(query, items, negative))

    def batch_l2(
        self,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        tables: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Returns half the squared norms of the batch's table rows, divided by B."""
        users, items = tables or self.tables()
        rows = F.embedding(user, users), F.embedding(positive, items)
        if negative.numel() < len(items):
            return squared_l2(*rows, F.embedding(negative, items))
        # More draws than items: compute each item's norm once, times its number of draws.
        times = torch.bincount(negative.flatten(), minlength=len(items))
        norms = items.square().sum(1)
        return squared_l2(*rows) + (norms * times).sum() / (2 * len(user))

    def tables_l2(self) -> Tensor:
        """Returns ``reg_weight`` times half the squared norms of the tables."""
        return self.reg_weight / 2 * sum(table.square().sum() for table in self.tables())

    def tables(self) -> list[Tensor]:
        """Returns the tables of embeddings, each (N, D)."""
        return [self.user_embedding.weight, self.item_embedding.weight]


class SampledScores(torch.autograd.Function):
    """Inner products of each user with the items drawn for the user, without a (B, n, D) array.

    Both passes walk over blocks of users whose item vectors fit a CPU's cache. With n in the
    hundreds this is 2 to 3 times faster than gathering all item vectors at once.

    Args (of ``apply``):
        users: Shape (B, D).
        items: Vectors of all items, shape (I, D).
        drawn: Item ids, shape (B, n).

    Returns:
        Shape (B, n).
    """

    cpu_block, other_block = 2**13, 2**20

    @staticmethod
    def forward(ctx, users: Tensor, items: Tensor, drawn: Tensor) -> Tensor:
        """Returns the scores."""
        ctx.save_for_backward(users, items, drawn)
        if users.device.type == "cpu" and drawn.shape[1] >= MANY:
            scores = users.new_empty(drawn.shape)
            for row, user, ids in zip(scores, users, drawn, strict=True):
                torch.mv(items.index_select(0, ids), user, out=row)
            return scores
        blocks = zip(*_blocks(drawn, users), strict=True)
        return torch.cat([scores_of(u, F.embedding(ids, items)) for ids, u in blocks])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Returns the gradients of the user vectors and of the item vectors."""
        users, items, drawn = ctx.saved_tensors
        gradient = gradient.to(items.dtype)  # under autocast the scores may be of half precision
        row, column = gradient.nonzero(as_tuple=True)
        if len(row) < gradient.numel() * SPARSE:  # a hinge: most items are not in the loss
            kept = gradient[row, column], users, row, items, drawn[row, column]
            return *pair_gradients(*kept), None
        of_users = F.embedding_bag(
            drawn, items, mode="sum", per_sample_weights=gradient.contiguous()
        )
        of_items = torch.zeros_like(items)
        for ids, user, weight in zip(*_blocks(drawn, users, gradient), strict=True):
            step = weight.unsqueeze(2) * user.unsqueeze(1)
            of_items.index_add_(0, ids.flatten(), step.flatten(0, 1))
        return of_users, of_items, None


def _blocks(drawn: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    entries = SampledScores.cpu_block if drawn.device.type == "cpu" else SampledScores.other_block
    step = max(1, entries // drawn.shape[1])
    return [x.split(step) for x in (drawn, *others)]


def scores_of(users: Tensor, items: Tensor) -> Tensor:
    """Returns the inner products of each user with the user's items.

    Args:
        users: Shape (B, D).
        items: Shape (B, n, D).

    Returns:
        Shape (B, n).
    """
    return torch.bmm(items, users.unsqueeze(2)).squeeze(2)
