"""The <user, node> pairs of test-time training, and the random pairs they are held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_hill.adapt.interest import propagate_interest


@dataclass(frozen=True, eq=False)
class Pairs:
    """Qualified <user, node> pairs, ordered by depth, user and node.

    Attributes:
        users: User row of every pair, shape (E,), int64.
        nodes: Node within its depth, shape (E,), int64.
        depths: Depth of the node, from 1, shape (E,), int64.
        rates: Interest rate, shape (E,), float64.
        phi_dep: How many depths were searched for pairs.
    """

    users: np.ndarray
    nodes: np.ndarray
    depths: np.ndarray
    rates: np.ndarray
    phi_dep: int = 0

    def __post_init__(self):
        shapes = {array.shape for array in (self.users, self.nodes, self.depths, self.rates)}
        if shapes != {(len(self.users),)}:
            raise ValueError(f"the arrays of Pairs must be 1-D and equally long, got {shapes}")

    def __len__(self) -> int:
        return len(self.users)

    def per_depth(self) -> dict[int, int]:
        """Returns the number of pairs at every depth that was searched, 0 where none was found."""
        counts = np.bincount(self.depths, minlength=self.phi_dep + 1)
        return {depth: int(counts[depth]) for depth in range(1, len(counts))}

    def at_depth(self, depth: int) -> "Pairs":
        """Returns the pairs of one depth."""
        return self._where(self.depths == depth)

    def of_users(self, wanted: np.ndarray) -> "Pairs":
        """Returns the pairs of some users.

        Args:
            wanted: Whether each user is one of them, shape (U,), bool.
        """
        return self._where(wanted[self.users])

    def _where(self, kept: np.ndarray) -> "Pairs":
        arrays = (self.users, self.nodes, self.depths, self.rates)
        return Pairs(*(array[kept] for array in arrays), phi_dep=self.phi_dep)


def extract_pairs(
    interested: sp.spmatrix,
    parents: Sequence[np.ndarray],
    *,
    thresholds: Sequence[float],
    phi_dep: int,
    min_children: int = 1,
    rate: str = "coverage",
    propagate: str = "touched",
) -> Pairs:
    """Extracts the pairs that HILL fine-tunes on (section 3.6): rate >= theta_d, depths 1..phi_dep.

    Args:
        interested: I(u, 0), shape (U, I); see `recbole_hill.adapt.interest.propagate_interest`.
        parents: Parent arrays of the index, from the items up.
        thresholds: theta_d per depth, in [0, 1].
        phi_dep: How many depths to climb.
        min_children: Emit only nodes with at least so many direct children. With thousands of nodes
            most pairs at .8 are nodes of a single item, which say nothing that the item does not.
            Interest is carried upward all the same.
        rate: ``coverage`` or ``concentration``.
        propagate: ``touched`` or ``qualified``.

    Returns:
        The pairs.

    Raises:
        ValueError: Names the setting that does not fit, its value and what is accepted.
    """
    if min_children < 1:
        raise ValueError(f"min_children must be at least 1, got {min_children!r}")
    levels = propagate_interest(
        interested, parents, thresholds, phi_dep, rate=rate, propagate=propagate
    )
    users, nodes, depths, rates = [], [], [], []
    for level in levels:
        found = level.rates
        size = np.bincount(parents[level.depth - 1])
        kept = size[found.indices] >= min_children
        rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
        users.append(rows[kept])
        nodes.append(found.indices[kept].astype(np.int64))
        depths.append(np.full(int(kept.sum()), level.depth, dtype=np.int64))
        rates.append(found.data[kept])
    return Pairs(*map(np.concatenate, (users, nodes, depths, rates)), phi_dep=phi_dep)
