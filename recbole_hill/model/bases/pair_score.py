"""Models whose score of a user and an item is not an inner product of two vectors."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_hill.model.bases.factorization import DeviceSampling
from recbole_hill.model.losses import bpr, squared_l2


class PairScoreModel(DeviceSampling, GeneralRecommender):
    """A recommender that scores <user, item> pairs, trained by BPR with an L2 term.

    A subclass defines its score once, in ``pair_scores``, and lists its embedding tables in
    ``tables``. This class has the loss, ``predict``, and full ranking in bounded blocks. If all
    pairs of some users and items cost less together than one by one, the subclass overrides
    ``block_scores``, too.

    Settings: those of ``DeviceSampling``, and ``reg_weight`` (weight of half the batch's squared
    embeddings).
    """

    input_type = InputType.PAIRWISE

    #: Largest number of <user, item> pairs that full ranking scores at a time.
    block_pairs: ClassVar[int] = 1 << 16

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]

    def pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns the differentiable scores of pairs.

        Args:
            users: User ids, shape (B,).
            items: Item ids, shape (B,).

        Returns:
            Shape (B,).
        """
        raise NotImplementedError

    def tables(self) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
        """Returns the user tables and the item tables whose batch rows the L2 term covers."""
        raise NotImplementedError

    def block_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns the scores of every given user with every given item, without gradient.

        Args:
            users: User ids, shape (b,).
            items: Item ids, shape (n,).

        Returns:
            Shape (b, n).
        """
        pairs = users.repeat_interleave(len(items)), items.repeat(len(users))
        return self.pair_scores(*pairs).view(len(users), len(items))

    def blocks(self, users: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields the blocks of full ranking, rows of ``users`` and item ids; each pair once."""
        everything = torch.arange(self.n_items, device=users.device)
        per_block = min(self.n_items, self.block_pairs)
        step = self.block_pairs // per_block
        for start in range(0, len(users), step):
            for items in everything.split(per_block):
                yield slice(start, start + step), items

    def calculate_loss(self, interaction) -> Tensor:
        """BPR over the batch's positives and drawn negatives, and the L2 term."""
        users, positives, negatives = self.draw(interaction)
        rivals = negatives.flatten()
        scores = self.pair_scores(
            torch.cat((users, users.repeat_interleave(self.n_negatives))),
            torch.cat((positives, rivals)),
        )
        positive, negative = scores.split((len(positives), len(rivals)))
        loss = bpr(positive.unsqueeze(1), negative.view_as(negatives))
        if not self.reg_weight:
            return loss
        user_tables, item_tables = self.tables()
        rows = [table(users) for table in user_tables]
        rows += [table(ids) for ids in (positives, negatives) for table in item_tables]
        return loss + self.reg_weight * squared_l2(*rows)

    @torch.no_grad()
    def predict(self, interaction) -> Tensor:
        """Returns the scores of the batch's <user, item> pairs, shape (B,)."""
        pairs = interaction[self.USER_ID], interaction[self.ITEM_ID]
        blocks = (ids.split(self.block_pairs) for ids in pairs)
        return torch.cat([self.pair_scores(*block) for block in zip(*blocks, strict=True)])

    @torch.no_grad()
    def full_sort_predict(self, interaction) -> Tensor:
        """Returns the scores of every item for the batch's users, flattened, shape (B * I,)."""
        users = interaction[self.USER_ID]
        scores = torch.empty(len(users), self.n_items, device=users.device)
        for rows, items in self.blocks(users):
            scores[rows, items] = self.block_scores(users[rows], items)
        return scores.view(-1)
