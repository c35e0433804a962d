"""Negatives and positives drawn on the device, a whole batch at a time.

RecBole's sampler draws in NumPy and repeats every positive once per negative. For baselines with
300 to 2,000 negatives per positive the sampler takes nearly the whole time of an epoch.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from recbole_hill.data.ragged import ranges

#: Size of the table that tells most pairs outside the train set: bits a pair, and bits at most
#: (64 MiB).
_FILTER_BITS, _LARGEST_FILTER = 128, 2**29


class InteractionSampler(nn.Module):
    """Draws from a train set: items that a user does not have, or users with one of their items.

    Item 0, RecBole's padding, is never drawn.

    Args:
        interactions: Binary train matrix, shape (U, I), padding row and column included.
    """

    def __init__(self, interactions: sp.spmatrix):
        super().__init__()
        matrix = sp.csr_matrix(interactions)
        matrix.sum_duplicates()
        matrix.sort_indices()
        self.n_items = matrix.shape[1]
        counts = np.diff(matrix.indptr).astype(np.int64)
        rows = np.repeat(np.arange(len(counts)), counts)
        # Sorted, so that a binary search answers whether user u has item i.
        keys = rows * self.n_items + matrix.indices
        self.remainders = min(_LARGEST_FILTER, 1 << (_FILTER_BITS * max(1, len(keys))).bit_length())
        for name, array in {
            "possible": _filter(keys, self.remainders, self.n_items),
            "keys": keys.astype(np.int64),
            "starts": matrix.indptr[:-1].astype(np.int64),
            "counts": counts,
            "active": np.flatnonzero(counts),
            # Users who have every item, so that there is no negative for them.
            "full": np.flatnonzero(counts >= self.n_items - 1),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def has(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether each <user, item> pair is in the train set, in broadcast shape."""
        known = torch.zeros(
            torch.broadcast_shapes(users.shape, items.shape), dtype=torch.bool, device=users.device
        )
        known[self._taken(users, items)] = True
        return known

    def _taken(self, users: Tensor, items: Tensor) -> tuple[Tensor, ...]:
        """Returns the places of the broadcast pairs in the train set, an index per dimension."""
        # One user's items are neighbours in the table: hundreds of them stay in a CPU's cache.
        bit = ((users * self.n_items) & (self.remainders - 1)).int() + items.int()
        byte = self.possible.index_select(0, (bit >> 3).flatten()).view(bit.shape)
        unclear = ((byte >> (bit & 7).to(torch.uint8)) & 1).nonzero(as_tuple=True)
        users, items = (ids.expand(bit.shape)[unclear] for ids in (users, items))
        taken = self._in_train(users * self.n_items + items)
        return tuple(index[taken] for index in unclear)

    def _in_train(self, wanted: Tensor) -> Tensor:
        place = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        return self.keys[place] == wanted

    def train_items(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the train items of some users, one user after another.

        Args:
            users: User ids, shape (B,).

        Returns:
            The place among the B users and the item id of every pair, both of shape (E,).
        """
        counts = self.counts[users]
        row = torch.repeat_interleave(counts)
        return row, self.keys[ranges(self.starts[users], counts)] % self.n_items

    def negatives(self, users: Tensor, n: int, *, reject: bool) -> Tensor:
        """Draws items uniformly.

        Args:
            users: User ids, shape (B,).
            n: Items per user.
            reject: Whether to draw again until no drawn item is a train item of its user. A user
                who has every item in train gets any item.

        Returns:
            Item ids, shape (B, n), with repetition.
        """
        drawn = self.uniform((len(users), n))
        if not reject:
            return drawn
        taken = self._taken(users.unsqueeze(1), drawn)
        if len(self.full):
            some = ~torch.isin(users[taken[0]], self.full)
            taken = tuple(index[some] for index in taken)
        while len(taken[0]):
            drawn[taken] = self.uniform(taken[0].shape)
            (again,) = self._taken(users[taken[0]], drawn[taken])
            taken = tuple(index[again] for index in taken)
        return drawn

    def positives(self, n: int) -> tuple[Tensor, Tensor]:
        """Draws users uniformly among the users with items, then one of each user's items.

        This is LightGCN's order. It gives every user the same weight. Iterating over the
        interactions weighs users by their activity.

        Args:
            n: Number of draws.

        Returns:
            User ids and item ids, each of shape (n,).
        """
        device = self.keys.device
        users = self.active[torch.randint(len(self.active), (n,), device=device)]
        counts = self.counts[users]
        place = (torch.rand(n, device=device, dtype=torch.float64) * counts).long()
        place = torch.minimum(place, counts - 1)
        return users, self.keys[self.starts[users] + place] % self.n_items

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Draws items uniformly, in any shape."""
        # In 32 bits, which is faster and draws the same numbers.
        dtype = torch.int32 if self.n_items < 2**31 else torch.int64
        return torch.randint(1, self.n_items, shape, dtype=dtype, device=self.keys.device).long()


def _filter(keys: np.ndarray, remainders: int, n_items: int) -> np.ndarray:
    """Returns one bit for every remainder of the keys: 0 if no key has the remainder.

    The table tells most pairs outside the train set at once. With 128 bits a train pair, at most
    one of 128 such pairs needs a further look. The first ``n_items`` bits are repeated after the
    last bits, so that adding an item to the remainder of a user's first key needs no second
    remainder.

    Args:
        keys: Sorted train pairs, user times ``n_items`` plus item.
        remainders: Number of remainders n, a power of two.
        n_items: I.

    Returns:
        Bytes, n / 8 of them and the repeated ones.
    """
    table = np.zeros(remainders // 8, dtype=np.uint8)
    bit = keys & (remainders - 1)
    np.bitwise_or.at(table, bit >> 3, np.left_shift(1, bit & 7).astype(np.uint8))
    return np.resize(table, remainders // 8 + n_items // 8 + 1)
