"""The contract that HILL and every embedding model share."""

from typing import ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_hill.model.losses import bpr


class EmbeddingModel(GeneralRecommender):
    """A recommender whose score is the inner product of a user and an item vector.

    A subclass says how the vectors come about (``user_item_embeddings``) and what is asked of them
    (``embedding_loss``); scoring, full ranking and caching between training steps are here.
    """

    input_type = InputType.PAIRWISE

    #: Names of modules that RecBole's own checkpoints need not hold.
    other_parameter_name: ClassVar[list[str]] = []
    #: Whether the loss is the sum over a batch's rows and not their mean.
    sums_over_batch: ClassVar[bool] = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._cached: tuple[Tensor, Tensor] | None = None

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns differentiable user vectors (U, D) and item vectors (I, D), padding row first."""
        raise NotImplementedError

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The training loss, given this step's vectors.

        Args:
            users: User vectors, shape (U, D), as ``user_item_embeddings`` returned them.
            items: Item vectors, shape (I, D).
            interaction: RecBole batch with user, item and negative item ids, each (B,).

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
        ids: Tensor | None = None,
    ) -> Tensor:
        """What the model's loss asks of the scores alone; BPR unless a subclass says otherwise.

        An index asks the same of what stands for some of the items.

        Args:
            users: User vectors, shape (U, D), or those of some users.
            items: Item vectors, shape (I, D), or pseudo items of some items.
            user: Rows of ``users``, shape (B,).
            positive: Rows of ``items``, shape (B,).
            negative: Rows of ``items``, shape (B, n).
            ids: The item id of each row of ``items``; the row itself if None.

        Returns:
            Scalar loss.
        """
        query = users[user]
        of_negatives = (query.unsqueeze(1) * items[negative]).sum(2)
        return bpr((query * items[positive]).sum(1, keepdim=True), of_negatives)

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's hook: one forward pass and its loss."""
        return self.embedding_loss(*self.user_item_embeddings(), interaction)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the model which epoch (from 0) starts; for schedules."""

    def train(self, mode: bool = True):
        """Switches mode and forgets cached vectors: the weights are about to change."""
        self._cached = None
        return super().train(mode)

    @torch.no_grad()
    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors for evaluation, computed once after training stops."""
        if self.training:
            return self.user_item_embeddings()
        if self._cached is None:
            self._cached = self.user_item_embeddings()
        return self._cached

    def load_state_dict(self, *args, **kwargs):
        """Loads weights and forgets cached vectors."""
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
    """Returns ``users @ items.T``; on a CPU in blocks of items that fit its cache, twice as fast.

    Args:
        users: Shape (B, D), no gradient.
        items: Shape (I, D), no gradient.
        block: Items of one block.

    Returns:
        Shape (B, I).
    """
    if users.device.type != "cpu":
        return users @ items.T
    scores = users.new_empty(len(users), len(items))
    for part, into in zip(items.split(block), scores.split(block, dim=1), strict=True):
        torch.mm(users, part.T, out=into)
    return scores
