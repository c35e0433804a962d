"""How much of an index node a user is interested in: HILL's interest rate, depth by depth.

Reference:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation" (HILL),
    section 3.6 and Eq. 8.

Depth 0 is the items, depth 1 the nodes just above the items. I(u, d) is the set of items or nodes
in which user u is interested at depth d; children(n) is the set of direct children of node n.

The text of the paper that we have lacks the formula of Eq. 8; it only names I(u, d) and
children(n). Two readings fit. Both have the numerator |I(u, d-1) ∩ children(n)|:

- ``coverage`` divides by |children(n)|: the user has most of the node. This is our default.
- ``concentration`` divides by |I(u, d-1)|: most of the user's interest is in the node. This is
  closer to the paper's prose. But if there are thousands of nodes, almost no user has .8 of a
  history in one node.

Above the items, I(u, d) is either the set of all nodes that the user touches (``touched``), or the
set of nodes whose rate reaches the threshold (``qualified``): the argument ``propagate``. A node is
touched if I(u, d-1) contains one of its children.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import scipy.sparse as sp

from recbole_hill.checks import one_of

RATES = ("coverage", "concentration")
PROPAGATED = ("qualified", "touched")

#: Tolerance of "rate >= threshold". A threshold written as a decimal number needs none, because
#: both sides are correctly rounded. A computed threshold does (0.1 * 3 > 3 / 10). The tolerance
#: admits nothing else: a threshold with three decimals and a rate of counts up to 100,000 are
#: either equal or 1e-8 apart.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class DepthInterest:
    """Interest of all users in the nodes of one depth.

    Attributes:
        depth: d, from 1.
        rates: Interest rates of the qualified <user, node> pairs, shape (U, K_d), float64 CSR; no
            other entries are stored.
        touched: |I(u, d-1) ∩ children(n)| of every touched <user, node> pair, shape (U, K_d), int64
            CSR.
    """

    depth: int
    rates: sp.csr_matrix
    touched: sp.csr_matrix


def interest_rates(
    interested: sp.spmatrix,
    parent: np.ndarray,
    rate: str = "coverage",
    *,
    n_nodes: int | None = None,
) -> sp.csr_matrix:
    """Computes the interest rates of one depth (HILL Eq. 8).

    Args:
        interested: I(u, d-1) as a matrix, shape (U, N); every entry other than zero counts as one.
        parent: Parent of every item (d = 1) or of every depth-(d-1) node, shape (N,).
        rate: ``coverage`` or ``concentration``, see the module.
        n_nodes: K_d; by default the largest parent + 1.

    Returns:
        Rates in (0, 1], shape (U, K_d), float64 CSR with sorted indices; untouched nodes have no
        entry.

    Raises:
        ValueError: If ``rate`` is unknown or ``parent`` does not fit.
    """
    return _rates(_touched(interested, parent, n_nodes), parent, rate)


def propagate_interest(
    interested: sp.spmatrix | Sequence[sp.spmatrix],
    parents: Sequence[np.ndarray],
    thresholds: Sequence[float],
    phi_dep: int,
    *,
    rate: str = "coverage",
    propagate: str = "touched",
) -> tuple[DepthInterest, ...]:
    """Propagates interest from the items up through the first depths of an index.

    Args:
        interested: I(u, 0), shape (U, I): train history, retrieved items, or their union. A
            sequence of I(u, 0), I(u, 1), ..., each of shape (U, K_d), is used as it is: nothing is
            propagated.
        parents: ``parents[0]`` is the depth-1 node of every item, shape (I,); ``parents[d]`` is the
            depth-(d+1) node of every depth-d node, shape (K_d,).
        thresholds: theta_d of depths 1, 2, ..., each in [0, 1]. A rate equal to its threshold
            qualifies; threshold 0 keeps every touched node.
        phi_dep: Number of depths to climb, from 1 to ``len(parents)``.
        rate: ``coverage`` or ``concentration``, see the module.
        propagate: Whether I(u, d) is the ``qualified`` nodes or all ``touched`` nodes.

    Returns:
        One `DepthInterest` per depth, 1 to ``phi_dep``.

    Raises:
        ValueError: If a setting does not fit. The message names the setting, its value and what is
            accepted.
    """
    limits = check_thresholds(thresholds, phi_dep, len(parents))
    one_of("propagate", propagate, PROPAGATED)
    given = None if sp.issparse(interested) else interested
    current = interested
    levels = []
    for depth in range(1, phi_dep + 1):
        if given is not None:
            current = given[depth - 1]
        # The number of nodes here is the length of the next parent array; the coarsest depth has
        # none.
        n_nodes = len(parents[depth]) if depth < len(parents) else None
        parent = parents[depth - 1]
        touched = _touched(current, parent, n_nodes)
        rates = _rates(touched, parent, rate)
        rates.data[rates.data < limits[depth - 1] - TOLERANCE] = 0
        rates.eliminate_zeros()
        levels.append(DepthInterest(depth, rates, touched))
        current = rates if propagate == "qualified" else touched
    return tuple(levels)


def check_thresholds(thresholds: Sequence[float], phi_dep: int, n_depths: int) -> np.ndarray:
    """Returns ``interest_thresholds`` of depths 1 to ``phi_dep``, shape (phi_dep,).

    Args:
        thresholds: theta_d of depths 1, 2, ..., each in [0, 1].
        phi_dep: Number of depths to climb.
        n_depths: L, the number of depths of the index.

    Raises:
        ValueError: If ``phi_dep`` is not a depth of the index, or a threshold is missing or outside
            [0, 1].
    """
    if not isinstance(phi_dep, Integral) or not 1 <= phi_dep <= n_depths:
        raise ValueError(
            f"phi_dep must be an integer from 1 to the index's depth {n_depths}, got {phi_dep!r}"
        )
    try:
        values = np.asarray(thresholds, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"interest_thresholds must be a list of numbers from 0 to 1, got {thresholds!r}"
        )
    if len(values) < phi_dep:
        raise ValueError(
            f"interest_thresholds needs one value for each of phi_dep = {phi_dep} depths, "
            f"got {thresholds!r}"
        )
    return values[:phi_dep]


def interest_from_lists(ids: np.ndarray, n_items: int) -> sp.csr_matrix:
    """Turns retrieved lists into I(u, 0): a source of interest that needs no labels.

    Args:
        ids: Item rows found for every user, shape (U, k), int64; short lists are padded with -1.
        n_items: I.

    Returns:
        Binary matrix, shape (U, I), int64 CSR; an item that is found twice counts once.

    Raises:
        ValueError: If an id is neither -1 nor an item row.
    """
    ids = np.asarray(ids)
    if ids.ndim != 2:
        raise ValueError(f"retrieved ids must have shape (U, k), got {ids.shape}")
    if ids.size and not (ids.min() >= -1 and ids.max() < n_items):
        raise ValueError(
            f"retrieved ids must be from 0 to {n_items - 1}, or -1 as padding, "
            f"got {ids.min()} to {ids.max()}"
        )
    rows, columns = np.nonzero(ids >= 0)
    entries = np.ones(len(rows), dtype=np.int64), (rows, ids[rows, columns])
    return _binary(sp.csr_matrix(entries, shape=(len(ids), n_items)))


def union(a: sp.spmatrix, b: sp.spmatrix) -> sp.csr_matrix:
    """Returns the union of the interests in ``a`` and ``b``, a binary matrix, shape (U, I).

    Raises:
        ValueError: If the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"interests to unite must have the same shape, got {a.shape}, {b.shape}")
    return _binary(_binary(a) + _binary(b))


def _binary(matrix: sp.spmatrix) -> sp.csr_matrix:
    """Returns a copy with 1 at every entry other than zero, as int64, so that sums are exact."""
    matrix = sp.csr_matrix(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    ones = np.ones(matrix.nnz, dtype=np.int64)
    return sp.csr_matrix((ones, matrix.indices, matrix.indptr), shape=matrix.shape)


def _touched(interested: sp.spmatrix, parent: np.ndarray, n_nodes: int | None) -> sp.csr_matrix:
    """Returns |I(u, d-1) ∩ children(n)|, shape (U, K_d)."""
    interested = _binary(interested)
    n_children = interested.shape[1]
    if parent.shape != (n_children,) or not np.issubdtype(parent.dtype, np.integer):
        raise ValueError(
            f"a parent array must hold one integer for each of {n_children} children, "
            f"got shape {parent.shape} of {parent.dtype}"
        )
    if n_nodes is None:
        n_nodes = int(parent.max(initial=-1)) + 1
    if n_children and not (parent.min() >= 0 and parent.max() < n_nodes):
        raise ValueError(
            f"parents must be from 0 to {n_nodes - 1}, got {parent.min()} to {parent.max()}"
        )
    # This is the product with the one-hot (N, K_d) matrix of parents: columns are renamed and
    # summed.
    touched = sp.csr_matrix(
        (interested.data, parent[interested.indices], interested.indptr),
        shape=(interested.shape[0], n_nodes),
    )
    touched.sum_duplicates()
    return touched


def _rates(touched: sp.csr_matrix, parent: np.ndarray, rate: str) -> sp.csr_matrix:
    if one_of("interest_reading", rate, RATES) == "coverage":
        whole = np.bincount(parent)[touched.indices]
    else:
        # Every child has one parent, so that the counts of a row sum to |I(u, d-1)|.
        size = np.asarray(touched.sum(axis=1)).ravel()
        whole = np.repeat(size, np.diff(touched.indptr))
    return sp.csr_matrix(
        (touched.data / whole, touched.indices.copy(), touched.indptr.copy()), shape=touched.shape
    )
