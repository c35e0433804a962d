"""Users without a train item: left out of validation and test, or ranked for by popularity.

A model has learnt nothing of such a user, and most models have no vector for "no history". So with
``cold_test_users: rank`` every model gives these users the same list: the items in the order of
their number of users in train.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

DROP, RANK = "drop", "rank"


@dataclass(frozen=True)
class Popularity:
    """The ranking for users without a train item.

    Attributes:
        cold: Whether each user has no train item, shape (U + 1,), RecBole's padding first.
        scores: Scores in the order of the items' number of train pairs, ties by smallest id, all
            different: I for the first item and 1 for the last, float32, shape (I + 1,). The padding
            has -inf.
    """

    cold: Tensor
    scores: Tensor

    @classmethod
    def of(cls, train) -> "Popularity":
        """Counts the pairs of a RecBole train dataset."""
        users, items = (train.inter_feat[field] for field in (train.uid_field, train.iid_field))
        counts = torch.bincount(items, minlength=train.item_num)[1:]
        order = counts.argsort(descending=True, stable=True)
        scores = torch.full((train.item_num,), -torch.inf)
        scores[order + 1] = torch.arange(len(counts), 0, -1, dtype=torch.float32)
        return cls(torch.bincount(users, minlength=train.user_num) == 0, scores)

    def replace(self, scores: Tensor, users: Tensor) -> Tensor:
        """Replaces the rows of users without a train item, in place.

        Args:
            scores: Shape (B, I + 1).
            users: RecBole's user of each row, shape (B,).

        Returns:
            ``scores``.
        """
        scores[self.cold.to(users.device)[users]] = self.scores.to(scores)
        return scores
