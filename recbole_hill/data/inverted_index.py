"""Interaction features by inverted index (I2IF; HSNN, section 2): engaged values meet an item's.

The values of a user's engaged items, counted, are the query; the items that hold a value are its
list. What a user and an item have in common is then one sparse product, (users x values) times
(values x items), instead of a comparison of every pair.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_hill.data.ragged import ranges

#: Numbers that :meth:`Shared.dense` makes of a pair.
DENSE = 3


class History:
    """Who engaged with what in train.

    Args:
        matrix: Binary, shape (U, I), RecBole's padding row and column empty.
    """

    def __init__(self, matrix: sp.csr_matrix):
        matrix = sp.csr_matrix(matrix, dtype=np.float32)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        matrix.sort_indices()
        self.matrix = matrix
        self.n_items = matrix.shape[1]
        self.starts = torch.from_numpy(matrix.indptr.astype(np.int64))
        self.items = torch.from_numpy(matrix.indices.astype(np.int64))
        self.lengths = torch.diff(self.starts)
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        self._keys = torch.from_numpy(rows.astype(np.int64)) * self.n_items + self.items

    def holds(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether each pair is in the history; any shape."""
        return find(self._keys, users * self.n_items + items)[1]

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the users' engaged items one after the other, and where each user's begin.

        Args:
            users: Shape (B,).

        Returns:
            Items (E,) and starts (B,), as ``embedding_bag`` takes them.
        """
        sizes = self.lengths[users]
        return self.items[ranges(self.starts[users], sizes)], sizes.cumsum(0) - sizes


def find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Looks keys up in a sorted list.

    Returns:
        The place of each (any where it is not there), and whether it is there; of wanted's shape.
    """
    if not len(keys):
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    places = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return places, keys[places] == wanted


@dataclass(frozen=True)
class Shared:
    """What users have in common with items in one field.

    Attributes:
        values: The items' values, 0 for none, (..., M).
        counts: How many engaged items of the user share each value, 0 at no value, (..., M).
        engaged: Engaged items of the user, or interests that he states, (...).
    """

    values: Tensor
    counts: Tensor
    engaged: Tensor

    def to(self, device) -> "Shared":
        """Returns the same on a device."""
        return Shared(*(part.to(device) for part in (self.values, self.counts, self.engaged)))

    def flat(self) -> "Shared":
        """Returns the same with one leading dimension."""
        n_values = self.values.shape[-1]
        return Shared(
            self.values.reshape(-1, n_values),
            self.counts.reshape(-1, n_values),
            self.engaged.reshape(-1),
        )

    def dense(self) -> Tensor:
        """Returns log(1 + shared), shared per engaged item, and the share of the item's values.

        Shape (..., 3).
        """
        total = self.counts.sum(-1)
        held = (self.values > 0).sum(-1).clamp_min(1)
        return torch.stack(
            (
                total.log1p(),
                total / (self.engaged * held).clamp_min(1),
                (self.counts > 0).sum(-1) / held,
            ),
            dim=-1,
        )


class InvertedIndex:
    """The lists of one item field's values, and every user's query.

    Args:
        values: The items' values, 0 for none, padding item first, shape (I, M).
        queries: How often each user asks for each value, shape (U, V).
        sizes: Engaged items (or stated interests) of each user, shape (U,).
        history: What the queries were made of, if they can leave a target out; None otherwise.
    """

    def __init__(
        self, values: Tensor, queries: sp.csr_matrix, sizes: Tensor, history: History | None = None
    ):
        self.values, self.sizes, self.history = distinct(values), sizes, history
        self.n_values = queries.shape[1]
        self.queries = queries
        self.queries.sort_indices()
        users = np.repeat(np.arange(queries.shape[0]), np.diff(queries.indptr))
        self._keys = torch.from_numpy(users.astype(np.int64) * self.n_values + queries.indices)
        self._counts = torch.from_numpy(queries.data)

    @classmethod
    def of_history(cls, values: Tensor, n_values: int, history: History) -> "InvertedIndex":
        """Asks for the values of the items that a user engaged with.

        Args:
            values: The items' values, 0 for none, padding item first, shape (I, M).
            n_values: V, 0 included.
            history: Who engaged with what.
        """
        queries = history.matrix @ _as_matrix(distinct(values), n_values)
        return cls(values, sp.csr_matrix(queries), history.lengths, history)

    @classmethod
    def of_interests(cls, values: Tensor, n_values: int, interests: Tensor) -> "InvertedIndex":
        """Asks for the values that a user's own features name.

        Args:
            values: The items' values, 0 for none, padding item first, shape (I, M).
            n_values: V, 0 included.
            interests: Values per user, 0 for none, padding user first, shape (U, N).
        """
        wanted = distinct(interests)
        return cls(values, _as_matrix(wanted, n_values), (wanted > 0).sum(1))

    def pairs(self, users: Tensor, items: Tensor, left_out: Tensor | None = None) -> Shared:
        """Returns what pairs have in common.

        Args:
            users: Shape (B,).
            items: Shape (B,).
            left_out: Item whose engagement does not count, (B,): the target of a training row,
                which a user would otherwise be recognised by. None to count everything.
        """
        values = self.values[items]
        places, known = find(self._keys, users.unsqueeze(1) * self.n_values + values)
        counts = self._counts[places] * (known & (values > 0)) if len(self._counts) else known * 0.0
        engaged = self.sizes[users]
        if left_out is not None and self.history is not None:
            was_engaged = self.history.holds(users, left_out)
            its_values = self.values[left_out].unsqueeze(1)
            same = (values.unsqueeze(2) == its_values).any(2) & (values > 0)
            counts = counts - (same & was_engaged.unsqueeze(1)).float()
            engaged = engaged - was_engaged.long()
        return Shared(values, counts, engaged)

    def block(self, users: Tensor, items: Tensor | None = None) -> Shared:
        """Returns what every one of some users has in common with items.

        Args:
            users: Shape (b,).
            items: Per user, shape (b, C); every item, (b, I), if None.
        """
        query = torch.from_numpy(self.queries[users.numpy()].toarray())
        query[:, 0] = 0
        engaged = self.sizes[users].unsqueeze(1)
        if items is None:
            values = self.values.expand(len(users), -1, -1)
            counts = query[:, self.values]
        else:
            values = self.values[items]
            counts = query.gather(1, values.flatten(1)).view(values.shape)
        return Shared(values, counts, engaged.expand(values.shape[:2]))


def _as_matrix(lists: Tensor, n_values: int) -> sp.csr_matrix:
    """Returns lists of distinct values (N, M), 0 for none, as a binary matrix, (N, V)."""
    held = lists > 0
    rows = held.nonzero()[:, 0].numpy()
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.csr_matrix((ones, (rows, lists[held].numpy())), shape=(len(lists), n_values))


def distinct(values: Tensor) -> Tensor:
    """Returns lists of values (I, M) with repetitions set to 0, values first."""
    ordered = values.sort(dim=1, descending=True).values
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    ordered = ordered.masked_fill(again, 0).sort(dim=1, descending=True).values
    longest = max(1, int((ordered > 0).sum(1).max())) if len(ordered) else 1
    return ordered[:, :longest].contiguous()
