"""Negatives and positives drawn on the device, a whole batch at a time.

RecBole's sampler draws in NumPy and tiles every positive once per negative; with the 300 to 2,000
negatives per positive that some baselines ask for, that is the whole cost of an epoch.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

#: Bytes of the table that tells most pairs outside the train set apart, at most: 64 MiB.
_LARGEST_FILTER = 2**26


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
        full = np.flatnonzero(counts >= self.n_items - 1)
        if len(full):
            raise ValueError(f"user {full[0]} has every item: there is no negative to draw")
        # A byte for every remainder of the keys: 0 where no pair of the train set has it, which a
        # drawn pair's remainder mostly shows at once. At 16 bytes a pair it mistakes 6 % of them.
        size = min(_LARGEST_FILTER, 1 << (16 * max(1, len(keys)) - 1).bit_length())
        possible = np.zeros(size, dtype=bool)
        possible[keys & (size - 1)] = True
        for name, array in {
            "possible": possible,
            "keys": keys.astype(np.int64),
            "starts": matrix.indptr[:-1].astype(np.int64),
            "counts": counts,
            "active": np.flatnonzero(counts),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def has(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns whether each pair is in the train set, in the broadcast shape of the two."""
        shape = torch.broadcast_shapes(users.shape, items.shape)
        last = len(self.possible) - 1
        remainder = ((users * self.n_items) & last).int() + items.int()
        found = self.possible.index_select(0, (remainder & last).flatten()).view(shape)
        unclear = found.nonzero(as_tuple=True)
        users, items = (ids.expand(shape)[unclear] for ids in (users, items))
        found[unclear] = self._in_train(users * self.n_items + items)
        return found

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
        """
        drawn = self._uniform((len(users), n))
        if not reject:
            return drawn
        users = users.unsqueeze(1).expand(-1, n)
        taken = self.has(users, drawn).nonzero(as_tuple=True)
        while len(taken[0]):
            drawn[taken] = self._uniform(taken[0].shape)
            again = self.has(users[taken], drawn[taken])
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
