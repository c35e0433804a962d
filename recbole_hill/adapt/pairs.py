"""The <user, node> pairs of test-time training.

A pair is a user and an index node that the user is interested in. Depth 1 is the nodes just above
the items.
"""

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
        nodes: Number of the node within its depth, shape (E,), int64.
        depths: Depth of the node, from 1, shape (E,), int64.
        rates: Interest rate (the share of the node that the user is interested in), shape (E,),
            float64.
        phi_dep: Number of depths that were searched for pairs.
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
        """Returns the number of pairs at every searched depth, 0 where there is no pair."""
        counts = np.bincount(self.depths, minlength=self.phi_dep + 1)
        return {depth: int(counts[depth]) for depth in range(1, len(counts))}

    def at_depth(self, depth: int) -> "Pairs":
        """Returns the pairs at one depth."""
        return self._where(self.depths == depth)

    def of_users(self, wanted: np.ndarray) -> "Pairs":
        """Returns the pairs of some users.

        Args:
            wanted: Whether the pairs of each user are returned, shape (U,), bool.
        """
        return self._where(wanted[self.users])

    def _where(self, kept: np.ndarray) -> "Pairs":
        arrays = (self.users, self.nodes, self.depths, self.rates)
        return Pairs(*(array[kept] for array in arrays), phi_dep=self.phi_dep)


def extract_pairs(
    interested: sp.spmatrix | Sequence[sp.spmatrix],
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
        interested: I(u, 0), the items in which each user is interested, shape (U, I); see
            `recbole_hill.adapt.interest.propagate_interest`.
        parents: Parent arrays of the index, from the items up.
        thresholds: theta_d per depth, in [0, 1].
        phi_dep: Number of depths to climb.
        min_children: Smallest number of direct children of a node in a pair. With thousands of
            nodes, most pairs at threshold .8 have a node with a single item, which says no more
            than the item. Interest is propagated upward through all nodes.
        rate: ``coverage`` or ``concentration``, the reading of the interest rate.
        propagate: ``touched`` or ``qualified``, the nodes through which interest is propagated.

    Returns:
        The pairs.

    Raises:
        ValueError: If a setting does not fit. The message names the setting, its value and what is
            accepted.
    """
    if min_children < 1:
        raise ValueError(f"min_children must be at least 1, got {min_children!r}")
    levels = propagate_interest(
        interested, parents, thresholds, phi_dep, rate=rate, propagate=propagate
    )
    users, nodes, depths, rates = [], [], [], []
    for level in levels:
        qualified = level.rates
        size = np.bincount(parents[level.depth - 1])
        kept = size[qualified.indices] >= min_children
        rows = np.repeat(np.arange(qualified.shape[0]), np.diff(qualified.indptr))
        users.append(rows[kept])
        nodes.append(qualified.indices[kept].astype(np.int64))
        depths.append(np.full(int(kept.sum()), level.depth, dtype=np.int64))
        rates.append(qualified.data[kept])
    return Pairs(*map(np.concatenate, (users, nodes, depths, rates)), phi_dep=phi_dep)
