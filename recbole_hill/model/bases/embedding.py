"""The interface that HILL and every embedding model share."""

from typing import ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_hill.model.losses import bpr


class EmbeddingModel(GeneralRecommender):
    """A recommender whose score is the inner product of a user vector and an item vector.

    A subclass defines the vectors (``user_item_embeddings``) and the loss (``embedding_loss``).
    This class scores pairs, ranks all items, and caches the vectors between training steps.
    """

    input_type = InputType.PAIRWISE

    #: Names of attributes that RecBole's checkpoints may lack.
    other_parameter_name: ClassVar[list[str]] = []
    #: Whether the loss is the sum over a batch's rows instead of their mean.
    sums_over_batch: ClassVar[bool] = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._cached: tuple[Tensor, Tensor] | None = None

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns differentiable user vectors (U, D) and item vectors (I, D), padding row first."""
        raise NotImplementedError

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The training loss, given the vectors of this step.

        Args:
            users: User vectors, shape (U, D), as ``user_item_embeddings`` returned them.
            items: Item vectors, shape (I, D).
            interaction: RecBole batch with user, item and negative item ids, each of shape (B,).

        Returns:
            Scalar loss.
        """
        raise NotImplementedError

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The part of the model's loss that depends on the scores alone; BPR by default.

        Learning an index uses the same loss, with pseudo items in the place of some items.

        Args:
            users: Vectors of all users, shape (U, D), or of some users.
            items: Vectors of all items, shape (I, D), or pseudo items of some items.
            user: Rows of ``users``, shape (B,).
            positive: Rows of ``items``, shape (B,).
            negative: Rows of ``items``, shape (B, n).
            ids: User id of each row of ``users``, and item id of each row of ``items``; None if row
                r is user r, and item r or an index node.

        Returns:
            Scalar loss.
        """
        query = users[user]
        of_negatives = (query.unsqueeze(1) * items[negative]).sum(2)
        return bpr((query * items[positive]).sum(1, keepdim=True), of_negatives)

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's hook: makes the vectors and returns the loss of one batch."""
        return self.embedding_loss(*self.user_item_embeddings(), interaction)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the model the number (from 0) of the epoch that starts; used by schedules."""

    def train(self, mode: bool = True):
        """Sets the training mode and drops the cached vectors, because the weights will change."""
        self._cached = None
        return super().train(mode)

    @torch.no_grad()
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors for evaluation; after training they are computed once."""
        if self.training:
            return self.user_item_embeddings()
        if self._cached is None:
            self._cached = self.user_item_embeddings()
        return self._cached

    def load_state_dict(self, *args, **kwargs):
        """Loads weights and drops the cached vectors."""
        self._cached = None
        return super().load_state_dict(*args, **kwargs)

    def predict(self, interaction) -> Tensor:
        """Returns the scores of the batch's <user, item> pairs, shape (B,)."""
        users, items = self.vectors()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(1)

    @torch.no_grad()
    def full_sort_predict(self, interaction) -> Tensor:
        """Returns the scores of every item for the batch's users, flattened, shape (B * I,)."""
        users, items = self.vectors()
        return inner_products(users[interaction[self.USER_ID]], items).view(-1)


def inner_products(users: Tensor, items: Tensor, block: int = 2048) -> Tensor:
    """Returns ``users @ items.T``; on a CPU twice as fast, by blocks of items that fit its cache.

    Args:
        users: Shape (B, D), no gradient.
        items: Shape (I, D), no gradient.
        block: Number of items of one block.

    Returns:
        Shape (B, I).
    """
    if users.device.type != "cpu":
        return users @ items.T
    scores = users.new_empty(len(users), len(items))
    for part, into in zip(items.split(block), scores.split(block, dim=1), strict=True):
        torch.mm(users, part.T, out=into)
    return scores
