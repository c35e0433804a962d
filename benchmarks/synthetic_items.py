"""A generated catalogue of any size: items in a tree of groups, users with a few interests each."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

#: Number of items that one random generator draws; asking for more items at once changes no value.
BLOCK = 1 << 16
#: Mean number of items per leaf group; a larger catalogue has more groups of the same size.
PER_LEAF = 250
#: Distances of the groups of the three levels from their parents, and of items from their leaf.
LEVELS, SPREAD = (1.0, 0.7, 0.5), 0.8
#: The standard deviation of dimension n is n to minus this, because trained embeddings
#: lie near a few dimensions. So leaves overlap: a tenth of 41,000 items, and a quarter of a million
#: items, lie closer to another leaf's centre. The effective dimension (participation ratio) is 8;
#: for HOP-Rec's items on Gowalla it is 10. Scanning 1 % of 41,000 items in 640 lists finds .90 of
#: the best 20; on Gowalla it finds .95. So generated items are no easier.
DECAY = 0.5
#: Exponent of the leaves' sizes by rank, and spread of the logarithm of the items' norms.
ZIPF, NORMS = 0.7, 0.2
#: Largest number of a user's interests (the least is 1), and length of the noise added to them.
INTERESTS, NOISE = 4, 0.3


@dataclass(frozen=True)
class Catalogue:
    """Items and users, drawn when they are used; the same for the same attributes.

    Attributes:
        n_items: I.
        dim: D.
        seed: Seed of all draws.
    """

    n_items: int
    dim: int = 64
    seed: int = 0

    @cached_property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each dimension of a vector of length 1, (D,)."""
        decay = np.arange(1, self.dim + 1) ** -DECAY
        return (decay / np.linalg.norm(decay)).astype(np.float32)

    @cached_property
    def leaves(self) -> np.ndarray:
        """Centres of the leaf groups, (F, D): three levels of equally many branches."""
        rng = np.random.default_rng([self.seed, 0])
        branches = max(2, round((self.n_items / PER_LEAF) ** (1 / len(LEVELS))))
        centres = np.zeros((1, self.dim))
        for length in LEVELS:
            centres = np.repeat(centres, branches, axis=0)
            centres += length * self.deviations * rng.normal(size=centres.shape)
        return centres.astype(np.float32)

    @cached_property
    def shares(self) -> np.ndarray:
        """Cumulative shares of the leaves among the items, (F,): Zipf's law over shuffled ranks."""
        rng = np.random.default_rng([self.seed, 1])
        sizes = rng.permutation((np.arange(len(self.leaves)) + 1.0) ** -ZIPF)
        return np.cumsum(sizes / sizes.sum())

    @cached_property
    def spreads(self) -> np.ndarray:
        """Distance of each leaf's items from its centre, (F,)."""
        rng = np.random.default_rng([self.seed, 2])
        return (SPREAD * np.exp(rng.normal(scale=0.3, size=len(self.leaves)))).astype(np.float32)

    def items(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors (stop - start, D) and leaves (stop - start,) of items start to stop."""
        blocks = [self._block(number) for number in range(start // BLOCK, -(-stop // BLOCK))]
        first = start // BLOCK * BLOCK
        vectors, leaves = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return vectors[start - first : stop - first], leaves[start - first : stop - first]

    def matrix(self, progress: bool = False) -> np.ndarray:
        """Returns the vectors of all items, (I, D), without a second copy in memory."""
        vectors = np.empty((self.n_items, self.dim), dtype=np.float32)
        starts = range(0, self.n_items, BLOCK)
        for start in tqdm(starts, desc="items", disable=not progress, leave=False):
            stop = min(start + BLOCK, self.n_items)
            vectors[start:stop] = self.items(start, stop)[0]
        return vectors

    def users(self, n_users: int) -> np.ndarray:
        """Returns users, (n_users, D): mixtures of 1 to 4 leaves, popular leaves more often."""
        rng = np.random.default_rng([self.seed, 3])
        weights = rng.exponential(size=(n_users, INTERESTS))  # normalised: a Dirichlet draw
        weights *= np.arange(INTERESTS) < rng.integers(1, INTERESTS + 1, size=(n_users, 1))
        weights /= weights.sum(1, keepdims=True)
        interests = self.leaves[self._draw_leaves(rng, weights.shape)]  # (n_users, 4, D)
        noise = NOISE * self.deviations * rng.normal(size=(n_users, self.dim))
        return (np.einsum("ni,nid->nd", weights, interests) + noise).astype(np.float32)

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, 4, number])
        leaves = self._draw_leaves(rng, BLOCK)
        vectors = rng.standard_normal((BLOCK, self.dim), dtype=np.float32)
        vectors *= self.deviations
        vectors *= self.spreads[leaves, None]
        vectors += self.leaves[leaves]
        vectors *= np.exp(NORMS * rng.standard_normal((BLOCK, 1), dtype=np.float32))
        return vectors, leaves

    def _draw_leaves(self, rng: np.random.Generator, shape) -> np.ndarray:
        leaves = np.searchsorted(self.shares, rng.random(shape), side="right")
        return np.minimum(leaves, len(self.leaves) - 1)
