"""Negatives and positives drawn on the device, a whole batch at a time.

RecBole's sampler draws in NumPy and tiles every positive once per negative; with the 300 to 2,000
negatives per positive that some baselines ask for, that is the whole cost of an epoch.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

#: Bits a pair, and at most, of the table that tells most pairs outside the train set apart: 64 MiB.
_FILTER_BITS, _LARGEST_FILTER = 128, 2**29


class InteractionSampler(nn.Module):
    """Draws from a train set: items that a user has not, or users with one of their items.

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
        # Sorted, so that "has user u item i" is a binary search.
        keys = rows * self.n_items + matrix.indices
        #: Users with every item, who have no negative.
        self.full = np.flatnonzero(counts >= self.n_items - 1).tolist()
        self.remainders = min(_LARGEST_FILTER, 1 << (_FILTER_BITS * max(1, len(keys))).bit_length())
        for name, array in {
            "possible": _filter(keys, self.remainders, self.n_items),
            "keys": keys.astype(np.int64),
            "starts": matrix.indptr[:-1].astype(np.int64),
            "counts": counts,
            "active": np.flatnonzero(counts),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def has(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether each pair is in the train set, in the broadcast shape of the two."""
        found = torch.zeros(
            torch.broadcast_shapes(users.shape, items.shape), dtype=torch.bool, device=users.device
        )
        found[self._taken(users, items)] = True
        return found

    def _taken(self, users: Tensor, items: Tensor) -> tuple[Tensor, ...]:
        """Returns where the broadcast pairs are in the train set, an index for each dimension."""
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

    def negatives(self, users: Tensor, n: int, *, reject: bool) -> Tensor:
        """Draws items uniformly.

        Args:
            users: User ids, shape (B,).
            n: Items per user.
            reject: Whether a user's train items are drawn again until none is left.

        Returns:
            Item ids, shape (B, n), with repetition.

        Raises:
            ValueError: If some user, whether asked for or not, has nothing but train items.
        """
        if reject and self.full:
            raise ValueError(f"user {self.full[0]} has every item: there is no negative to draw")
        drawn = self._uniform((len(users), n))
        if not reject:
            return drawn
        taken = self._taken(users.unsqueeze(1), drawn)
        while len(taken[0]):
            drawn[taken] = self._uniform(taken[0].shape)
            (again,) = self._taken(users[taken[0]], drawn[taken])
            taken = tuple(index[again] for index in taken)
        return drawn

    def positives(self, n: int) -> tuple[Tensor, Tensor]:
        """Draws users uniformly among those with items, then one of each user's items.

        LightGCN's order, which gives every user the same weight; iterating over the interactions
        weighs users by their activity.

        Returns:
            User ids and item ids, each (n,).
        """
        device = self.keys.device
        users = self.active[torch.randint(len(self.active), (n,), device=device)]
        counts = self.counts[users]
        place = (torch.rand(n, device=device, dtype=torch.float64) * counts).long()
        place = torch.minimum(place, counts - 1)
        return users, self.keys[self.starts[users] + place] % self.n_items

    def _uniform(self, shape) -> Tensor:
        # In 32 bits, which is faster and draws the same numbers.
        dtype = torch.int32 if self.n_items < 2**31 else torch.int64
        return torch.randint(1, self.n_items, shape, dtype=dtype, device=self.keys.device).long()


def _filter(keys: np.ndarray, remainders: int, n_items: int) -> np.ndarray:
    """Returns a bit for every remainder of the keys, 0 where no key has it; n bits in n / 8 bytes.

    A pair outside the train set mostly shows at once: at 128 bits a pair, one in 128 or fewer does
    not. The first ``n_items`` bits stand behind the last ones again, so that a user's first key's
    remainder plus an item needs no remainder of its own.
    """
    table = np.zeros(remainders // 8, dtype=np.uint8)
    bit = keys & (remainders - 1)
    np.bitwise_or.at(table, bit >> 3, np.left_shift(1, bit & 7).astype(np.uint8))
    return np.resize(table, remainders // 8 + n_items // 8 + 1)
