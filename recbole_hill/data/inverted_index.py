"""Interaction features by inverted index (I2IF; HSNN, section 2).

The query of a user is the values of the items that the user engaged with, each with its count. The
list of a value is the items that hold the value. One sparse product, (users x values) times (values
x items), then gives the values that a user and an item share, without comparing every pair.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_hill.data.ragged import ranges

#: Numbers that :meth:`Shared.dense` returns for each pair.
DENSE = 3


class History:
    """Which users engaged with which items in train.

    Args:
        matrix: Binary, shape (U, I); RecBole's padding row and column are empty.
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
        """Returns whether each <user, item> pair is in the history; the shape of the arguments."""
        return find(self._keys, users * self.n_items + items)[1]

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the items that some users engaged with, user after user, and each user's start.

        Args:
            users: Shape (B,).

        Returns:
            Items, shape (E,), and starts, shape (B,), as ``embedding_bag`` takes them.
        """
        sizes = self.lengths[users]
        return self.items[ranges(self.starts[users], sizes)], sizes.cumsum(0) - sizes


def find(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Looks up keys in a sorted list.

    Returns:
        The place of each wanted key (arbitrary if the key is absent), and whether the key is
        present; both of the shape of ``wanted``.
    """
    if not len(keys):
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    places = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return places, keys[places] == wanted


@dataclass(frozen=True)
class Shared:
    """The values that users and items share in one field.

    Attributes:
        values: The items' values, 0 for none, shape (..., M).
        counts: For each value the number of the user's engaged items that share it, 0 where there
            is no value, shape (..., M).
        engaged: Number of the user's engaged items, or of the interests that the user states, shape
            (...).
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
        """Returns three numbers for each pair, shape (..., 3).

        They are log(1 + shared values), the shared values per engaged item and value of the item,
        and the share of the item's values that are shared.
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
    """The lists of one item field's values, and the query of every user.

    Args:
        values: The items' values, 0 for none, padding item first, shape (I, M).
        queries: Count of each value in each user's query, shape (U, V).
        sizes: Number of engaged items (or stated interests) of each user, shape (U,).
        history: The history that the queries were made from, so that a target can be left out; None
            if the queries were made from something else.
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
        """Returns an index whose queries are the values of the items that a user engaged with.

        Args:
            values: The items' values, 0 for none, padding item first, shape (I, M).
            n_values: V, 0 included.
            history: Which user engaged with which items.
        """
        queries = history.matrix @ _as_matrix(distinct(values), n_values)
        return cls(values, sp.csr_matrix(queries), history.lengths, history)

    @classmethod
    def of_interests(cls, values: Tensor, n_values: int, interests: Tensor) -> "InvertedIndex":
        """Returns an index whose queries are the values that a user's own features name.

        Args:
            values: The items' values, 0 for none, padding item first, shape (I, M).
            n_values: V, 0 included.
            interests: Values per user, 0 for none, padding user first, shape (U, N).
        """
        wanted = distinct(interests)
        return cls(values, _as_matrix(wanted, n_values), (wanted > 0).sum(1))

    def pairs(self, users: Tensor, items: Tensor, left_out: Tensor | None = None) -> Shared:
        """Returns the values that the users and items of pairs share.

        Args:
            users: Shape (B,).
            items: Shape (B,).
            left_out: Items whose engagement does not count, shape (B,). They are the targets of
                training rows: counting a target would reveal its label. None counts every
                engagement.
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
        """Returns the values that each of some users shares with items.

        Args:
            users: Shape (b,).
            items: Items per user, shape (b, C). None stands for every item: shape (b, I).
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
    """Returns lists of distinct values (N, M), 0 for none, as a binary matrix (N, V)."""
    held = lists > 0
    rows = held.nonzero()[:, 0].numpy()
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.csr_matrix((ones, (rows, lists[held].numpy())), shape=(len(lists), n_values))


def distinct(values: Tensor) -> Tensor:
    """Returns lists of values (I, M) without repetitions: distinct values first, then 0."""
    ordered = values.sort(dim=1, descending=True).values
    again = torch.zeros_like(ordered, dtype=torch.bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    ordered = ordered.masked_fill(again, 0).sort(dim=1, descending=True).values
    longest = max(1, int((ordered > 0).sum(1).max())) if len(ordered) else 1
    return ordered[:, :longest].contiguous()
