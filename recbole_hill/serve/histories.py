"""What a sequential model of RecBole reads of a user: his last items, as one row of features."""

from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction, cat_interactions
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_hill.data.ids import Ids


@dataclass(frozen=True)
class Histories:
    """The rows that RecBole makes of users' interactions: an item, and the items before it.

    Attributes:
        dataset: RecBole's sequential dataset, for its fields and ids.
        rows: The rows of train and validation.
    """

    dataset: object
    rows: Interaction

    @classmethod
    def of_data(cls, data) -> "Histories":
        """Takes the rows of a run's train and validation sets; the test items stay unknown."""
        parts = [loader._dataset.inter_feat for loader in (data.train, data.valid)]
        return cls(data.dataset, cat_interactions(parts))

    def of(self, users: Tensor) -> Interaction:
        """Returns one row per user, whose lists end with the user's last known item.

        Args:
            users: RecBole's user ids, shape (B,).

        Raises:
            ValueError: If a user has fewer than two known items, so that RecBole has no row of his.
        """
        last = self._last_rows()[users.numpy()]
        if (last < 0).any():
            user = Ids.of(self.dataset).users[int(users[int(np.argmax(last < 0))]) - 1]
            raise ValueError(f"user {str(user)!r} has fewer than two interactions to predict from")
        rows = self.rows[torch.from_numpy(last)]
        length_field, suffix = (
            self.dataset.item_list_length_field,
            self.dataset.config["LIST_SUFFIX"],
        )
        lengths = rows[length_field]
        columns = {self.dataset.uid_field: users}
        for field in rows.interaction:
            if not field.endswith(suffix):
                continue
            lists, added = rows[field].clone(), rows[field.removesuffix(suffix)]
            full = lengths == lists.shape[1]
            lists[full] = lists[full].roll(-1, dims=1)
            lists[torch.arange(len(lists)), lengths.clamp_max(lists.shape[1] - 1)] = added
            columns[field] = lists
        longest = rows[self.dataset.iid_field + suffix].shape[1]
        columns[length_field] = (lengths + 1).clamp_max(longest)
        return Interaction(columns)

    def items(self) -> csr_matrix:
        """Returns the known <user, item> pairs, by RecBole's ids, shape (U + 1, I + 1)."""
        dataset, suffix = self.dataset, self.dataset.config["LIST_SUFFIX"]
        users = self.rows[dataset.uid_field].numpy()
        before = self.rows[dataset.iid_field + suffix].numpy()
        pairs = [(users, self.rows[dataset.iid_field].numpy())]
        pairs += [(users, column) for column in before.T]
        rows, columns = (np.concatenate(part) for part in zip(*pairs, strict=True))
        known = columns > 0  # 0 fills short lists
        shape = dataset.user_num, dataset.item_num
        ones = np.ones(int(known.sum()), dtype=np.float32)
        return csr_matrix((ones, (rows[known], columns[known])), shape=shape)

    def _last_rows(self) -> np.ndarray:
        """Returns the row of each user's last known item, by RecBole's user id; -1 for none."""
        users = self.rows[self.dataset.uid_field].numpy()
        last = np.full(self.dataset.user_num, -1, dtype=np.int64)
        last[users] = np.arange(len(users))  # rows are in the order of time: the last one stays
        return last
