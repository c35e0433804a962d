"""Models of labelled impressions: probabilities per task, and a ranking of all items by them."""

from functools import cached_property

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_hill.checks import require_at_least
from recbole_hill.data.fields import Encoded
from recbole_hill.data.impressions import Impressions
from recbole_hill.data.tasks import label_matrix, tasks_of
from recbole_hill.labelled.search import BLOCK_PAIRS, ExhaustiveSearch, NetworkSearch, VectorSearch
from recbole_hill.labelled.teacher import Teacher
from recbole_hill.labelled.towers.block import MoNNBlock


class LabelledModel(AbstractRecommender):
    """A context-aware recommender for several labels, which retrieves as well.

    A subclass says how pairs get their logits (``pair_logits``) and users theirs of every item
    (``all_logits``), and may add to the loss (``loss_of``).

    Loss: cross-entropy over tasks, weighted (HSNN, Eq. 1), and on unlabelled pairs that to a
    teacher's soft labels (Eq. 2). The tasks' weights are those of both.

    Of a pair whose user has engaged with the item in train, that does not count as his history:
    neither in training, where it is the label, nor where labels are predicted. Only lists of all
    items go by all of his history.

    Settings: ``tasks``, ``interest_fields``, ``trusted_columns`` (not looked at for leaks),
    ``vocabulary`` (``train`` | ``catalogue``), ``embedding_size`` (of a field),
    ``monn_scale``, ``overarch``, ``dropout_prob``, ``distill_from`` (folder of a finished run),
    ``distill_pairs`` (unlabelled pairs per labelled one), ``distill_weight``.
    """

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__()
        self.USER_ID, self.ITEM_ID = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.device = config["device"]
        self.n_users, self.n_items = dataset.user_num, dataset.item_num
        self.tasks = tasks_of(config)
        if not self.tasks:
            raise ValueError(
                f"{config['model']} needs labels: set tasks, such as "
                f"{{click: {{field: rating, at_least: 4}}}}"
            )
        if config["warm_start"]:
            raise ValueError(
                f"{config['model']} takes no warm_start, got {config['warm_start']}: its tables "
                f"are by the features' values; `stream` trains one model on later and later rows"
            )
        drawn = config["train_neg_sample_args"]["distribution"]
        if drawn != "none":
            raise ValueError(
                f"{config['model']} learns from labels, over which RecBole would write those of "
                f"drawn negatives: train_neg_sample_args must be none (~), got distribution "
                f"{drawn!r}"
            )
        require_at_least(config, {"embedding_size": 1}, {"embedding_size"})
        self.data = Impressions(
            dataset,
            self.tasks,
            config["interest_fields"],
            config["vocabulary"],
            config["trusted_columns"] or (),
        )
        #: Items that lists are made of, by id: all, but in a stream.
        self.register_buffer("alive", torch.arange(self.n_items) > 0)
        weights = torch.tensor([task.weight for task in self.tasks])
        self.register_buffer("task_weights", weights, persistent=False)
        self._teacher_from = config, dataset

    @cached_property
    def teacher(self) -> Teacher | None:
        """Loaded when training begins: a finished model does without it."""
        config, dataset = self._teacher_from
        return Teacher.from_config(config, self.tasks, dataset)

    # -- what a subclass says -------------------------------------------------------------------

    def pair_logits(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> Tensor:
        """Returns one logit per task of pairs.

        Args:
            users: Shape (B,).
            items: Shape (B,).
            context: Features of the B impressions.
            left_out: Items whose engagement by their user does not count, (B,), or None.

        Returns:
            Shape (B, T).
        """
        raise NotImplementedError

    def all_logits(self, users: Tensor) -> Tensor:
        """Returns the first task's logits of every item, without context, (b, I)."""
        raise NotImplementedError

    def loss_of(
        self, users: Tensor, items: Tensor, context: Encoded, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Returns the loss of rows with labels, hard or soft.

        Args:
            users: Shape (B,).
            items: Shape (B,).
            context: Features of the B impressions.
            labels: In [0, 1], shape (B, T).
            weights: Of the rows, shape (B,).
        """
        return self.cross_entropy(self.pair_logits(users, items, context, items), labels, weights)

    def networks(self) -> list[MoNNBlock]:
        """Returns the networks by layer, coarsest first."""
        raise NotImplementedError

    def layer_sizes(self) -> list[int]:
        """Returns how many nodes or items each network would judge if all were kept: V here."""
        return [len(self.alive_rows)]

    def kept(self) -> list[Tensor]:
        """Returns the embeddings of nodes and items that serving keeps."""
        raise NotImplementedError

    def searcher(self, full: bool = False) -> NetworkSearch | VectorSearch:
        """Returns the search that serves the model; one that is exact if ``full``."""
        return ExhaustiveSearch(self)

    def serve(self, items: Tensor) -> None:
        """Makes lists of these items alone, by id; in a stream others are gone or not yet born."""
        self.alive.fill_(False)
        self.alive[items] = True
        self.forget()

    @property
    def alive_rows(self) -> Tensor:
        """The items that lists are made of, as rows of arrays without padding, ascending."""
        return self.alive[1:].nonzero().squeeze(1).cpu()

    def forget(self) -> None:
        """Forgets what serving keeps: the weights are about to change, or have."""

    # -- what all share -------------------------------------------------------------------------

    def cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Returns the cross-entropy, a weighted sum over tasks and rows (Eq. 1)."""
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return weights @ (losses * self.task_weights).sum(1)

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's hook: the mean loss of the labelled rows (Eq. 1).

        If there is a teacher, plus its weight times that of pairs with its soft labels (Eq. 2, 3);
        they go through the network together.
        """
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        context = self.data.context_of(interaction, len(users))
        labels = label_matrix(interaction, self.tasks).to(self.device)
        weights = torch.full((len(users),), 1 / len(users), device=self.device)
        if self.teacher is not None:
            drawn = self.teacher.draw(len(users), self.n_users, self.n_items)
            n_drawn = len(drawn[0])
            context = Encoded.cat((context, self.data.context_of({}, n_drawn)))
            share = torch.full((n_drawn,), self.teacher.weight / n_drawn)
            users, items, labels, weights = (
                torch.cat((ours, more.to(ours.device)))
                for ours, more in zip((users, items, labels, weights), (*drawn, share), strict=True)
            )
        return self.loss_of(users, items, context, labels, weights)

    @torch.no_grad()
    def probabilities(self, interaction) -> Tensor:
        """Returns the tasks' probabilities of a batch, shape (B, T), in bounded memory.

        As in training, an item is not part of the history by which it is judged.
        """
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        context = self.data.context_of(interaction, len(users))
        found = [
            self.pair_logits(users[rows], items[rows], context[rows], items[rows]).sigmoid()
            for rows in torch.arange(len(users)).split(BLOCK_PAIRS)
        ]
        return torch.cat(found)

    def predict(self, interaction) -> Tensor:
        """Returns the first task's probability of the batch's pairs, shape (B,)."""
        return self.probabilities(interaction)[:, 0]

    @torch.no_grad()
    def full_sort_predict(self, interaction) -> Tensor:
        """Returns the first task's logits of every item for the users, flattened, (B * I,)."""
        users = interaction[self.USER_ID].cpu()
        step = max(1, BLOCK_PAIRS // self.n_items)
        return torch.cat([self.all_logits(part) for part in users.split(step)]).view(-1)

    def train(self, mode: bool = True):
        """Switches mode and forgets what was kept."""
        self.forget()
        return super().train(mode)

    def load_state_dict(self, *args, **kwargs):
        """Loads weights and forgets what was kept."""
        self.forget()
        return super().load_state_dict(*args, **kwargs)


def grid_logits(
    block: MoNNBlock, users: Tensor, user_vectors: Tensor, items: Tensor, item_vectors: Tensor
) -> Tensor:
    """Returns a block's logits of every user with items of his own, without context.

    Args:
        block: The network.
        users: User ids, shape (b,), on the CPU.
        user_vectors: Their embeddings, shape (b, num_embed, dim).
        items: Item ids, shape (b, C), on the CPU.
        item_vectors: Their embeddings, shape (b, C, num_embed, dim).

    Returns:
        Shape (b, C, T).
    """
    n_users, n_items = items.shape
    shared, context = [], block.data.context_of({}, 0)
    if not block.size.is_dot_product:
        shared = [index.block(users, items).flat() for index in block.data.indices]
        context = block.data.context_of({}, n_users * n_items)
    interactions = block.interact(user_vectors, item_vectors, shared, context)
    return block.logits(user_vectors, item_vectors, interactions)
