"""A made-up catalogue of any size: items in a tree of groups, users with a few interests each."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm import tqdm

#: Items drawn by one random generator, so that how many are asked for at once changes no value.
BLOCK = 1 << 16
#: Items per leaf group on average: a larger catalogue has more groups, not larger ones.
PER_LEAF = 250
#: How far groups of the three levels lie from their parent, and items from their leaf.
LEVELS, SPREAD = (1.0, 0.7, 0.5), 0.8
#: The n-th dimension deviates by n to minus this, as trained embeddings
#: lie near a few dimensions. It makes leaves overlap: of 41,000 items a tenth, of a million a
#: quarter lie closer to another leaf's centre. The effective dimension (participation ratio) is 8,
#: that of HOP-Rec's items on Gowalla 10; and 1 % of 41,000 items scanned in 640 lists hold .90 of
#: the best 20, where .95 of them are held on Gowalla: made items are no easier.
DECAY = 0.5
#: Exponent of the leaves' sizes by rank, and the spread of the logarithm of the items' norms.
ZIPF, NORMS = 0.7, 0.2
#: A user has 1 to this many interests, and noise of this length beside them.
INTERESTS, NOISE = 4, 0.3


@dataclass(frozen=True)
class Catalogue:
    """Items and users, drawn when asked for; the same for the same numbers below.

    Attributes:
        n_items: I.
        dim: D.
        seed: Of everything.
    """

    n_items: int
    dim: int = 64
    seed: int = 0

    @cached_property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each dimension of a vector of length 1, (D,)."""
        found = np.arange(1, self.dim + 1) ** -DECAY
        return (found / np.linalg.norm(found)).astype(np.float32)

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
        """Cumulated shares of the leaves among the items, (F,): Zipf's law over shuffled ranks."""
        rng = np.random.default_rng([self.seed, 1])
        sizes = rng.permutation((np.arange(len(self.leaves)) + 1.0) ** -ZIPF)
        return np.cumsum(sizes / sizes.sum())

    @cached_property
    def spreads(self) -> np.ndarray:
        """Distance of each leaf's items from its centre, (F,)."""
        rng = np.random.default_rng([self.seed, 2])
        return (SPREAD * np.exp(rng.normal(scale=0.3, size=len(self.leaves)))).astype(np.float32)

    def items(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns vectors (stop - start, D) and leaves (stop - start,) of some items."""
        blocks = [self._block(number) for number in range(start // BLOCK, -(-stop // BLOCK))]
        first = start // BLOCK * BLOCK
        vectors, leaves = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return vectors[start - first : stop - first], leaves[start - first : stop - first]

    def matrix(self, progress: bool = False) -> np.ndarray:
        """Returns all items' vectors, (I, D), with no second copy of them in memory."""
        vectors = np.empty((self.n_items, self.dim), dtype=np.float32)
        starts = range(0, self.n_items, BLOCK)
        for start in tqdm(starts, desc="items", disable=not progress, leave=False):
            stop = min(start + BLOCK, self.n_items)
            vectors[start:stop] = self.items(start, stop)[0]
        return vectors

    def users(self, n_users: int) -> np.ndarray:
        """Returns users, (n_users, D): mixtures of 1 to 4 leaves, the popular ones more often."""
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
