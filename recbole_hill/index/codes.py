"""Codes: which node of each depth an item is assigned to; trees, loads and drift made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_hill.index.hierarchy import HierarchicalIndex, nearest_rows


@dataclass(frozen=True)
class NodeUsage:
    """How evenly a depth's nodes are used.

    Attributes:
        nodes: Nodes that there are.
        used: Nodes with an item.
        largest: Share of the items that the fullest node holds.
        entropy: Of the items' distribution over the nodes, over ln K: 1 if even, 0 if collapsed.
    """

    nodes: int
    used: int
    largest: float
    entropy: float

    @classmethod
    def of(cls, codes: np.ndarray, n_nodes: int) -> "NodeUsage":
        """Returns the usage of the nodes that codes name, in 0..n_nodes - 1, shape (N,)."""
        counts = np.bincount(codes, minlength=n_nodes)
        shares = counts[counts > 0] / max(1, len(codes))
        entropy = -(shares * np.log(shares)).sum() / np.log(n_nodes) if n_nodes > 1 else 1.0
        return cls(n_nodes, len(shares), float(shares.max(initial=0)), abs(float(entropy)))

    def __str__(self) -> str:
        return (
            f"{self.used:,} of {self.nodes:,} nodes used, largest {self.largest:.2%} of the items, "
            f"entropy {self.entropy:.3f}"
        )


def usage_of_tree(index: HierarchicalIndex) -> list[NodeUsage]:
    """Returns how evenly an index uses its nodes, at depths 1..L; each node holds an item."""
    sizes = enumerate(index.nodes_per_depth, start=1)
    return [NodeUsage.of(index.assignments(depth), size) for depth, size in sizes]


def drift(before: np.ndarray, after: np.ndarray, direction: str = "bottom_up") -> list[float]:
    """Returns the share of items whose node changed, at depths 1..L.

    Args:
        before: Nodes of the items that both snapshots hold, depth 1 first, shape (L, N).
        after: The same items' nodes later, shape (L, N).
        direction: Of the index; a ``top_down`` node is a code prefix, so that an item whose coarse
            code changed has moved at all finer depths too.
    """
    if before.shape != after.shape:
        raise ValueError(f"drift needs codes of one shape, got {before.shape} and {after.shape}")
    moved = before != after
    if direction == "top_down":
        moved = np.logical_or.accumulate(moved[::-1])[::-1]
    return [float(x) for x in moved.mean(1)] if before.shape[1] else [0.0] * len(before)


def matched(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Renames later nodes by earlier ones, where the numbers of the two mean nothing to each other.

    A node takes the name of the earlier node that it shares most items with (ties: the smallest).
    So an item has moved if the company that it is in came from elsewhere: a node that splits moves
    nobody, of two that merge the smaller one moves, and an item left alone has not moved.

    Args:
        before: Nodes of the items that both snapshots hold, depth 1 first, shape (L, N).
        after: The same items' nodes later, under any numbers, shape (L, N).

    Returns:
        ``after`` in the numbers of ``before``, for :func:`drift`, shape (L, N).
    """
    renamed = np.empty_like(after)
    for depth, pair in enumerate(zip(after, before, strict=True)):
        (later, earlier), shared = np.unique(pair, axis=1, return_counts=True)
        order = np.lexsort((earlier, -shared, later))
        nodes, first = np.unique(later[order], return_index=True)
        renamed[depth] = earlier[order][first][np.searchsorted(nodes, after[depth])]
    return renamed


def codes_of_tree(index: HierarchicalIndex, codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the codes that a published index was made of: its nodes, in the codebooks' numbers.

    A node's vector is its row of the codebook (``top_down``: over its parent's vector), so that the
    nearest row is the row itself.

    Args:
        index: What :meth:`recbole_hill.index.lti.LearnedIndex.publish` returned.
        codebooks: Of depths 1..L, each (K_d, D).

    Returns:
        Shape (L, I).
    """
    codes = []
    for depth, (vectors, book) in enumerate(zip(index.vectors, codebooks, strict=True), start=1):
        if index.direction == "top_down" and depth < index.depth:
            vectors = vectors - index.vectors[depth][index.parents[depth]]
        codes.append(nearest_rows(vectors, book)[index.assignments(depth)])
    return np.stack(codes)


def tree_of_codes(
    items: Sequence[str],
    codes: Sequence[np.ndarray],
    codebooks: Sequence[np.ndarray],
    item_vectors: np.ndarray,
) -> HierarchicalIndex:
    """Makes a ``top_down`` index of residual codes: a node is a code prefix that occurs.

    Its vector is the sum of the codewords on its path.

    Args:
        items: External item ids, (I,).
        codes: Codes of all items, coarsest first, each (I,).
        codebooks: Codewords of the same depths, each (K_d, D).
        item_vectors: Shape (I, D), for the representatives.
    """
    prefix = np.zeros(len(items), dtype=np.int64)
    above, parents, vectors = None, [], []
    for code, codewords in zip(codes, codebooks, strict=True):
        _, first, prefix = np.unique(
            prefix * len(codewords) + code, return_index=True, return_inverse=True
        )
        if above is not None:
            parents.append(above[first])
        sums = codewords[code[first]]
        vectors.append(sums if above is None else vectors[-1][parents[-1]] + sums)
        above = prefix
    parents = [prefix, *parents[::-1]]
    return HierarchicalIndex.build(items, parents, item_vectors, "top_down", vectors[::-1])


def tree_of_nodes(
    items: Sequence[str],
    codes: Sequence[np.ndarray],
    nodes: Sequence[np.ndarray],
    item_vectors: np.ndarray,
) -> HierarchicalIndex:
    """Makes a ``bottom_up`` index of every item's nodes; nodes without items are left out.

    Args:
        items: External item ids, (I,).
        codes: Nodes of all items at depths 1..L, each (I,).
        nodes: Vectors of the nodes at the same depths, each (K_d, D).
        item_vectors: Shape (I, D), for the representatives.
    """
    parents, vectors, below = [], [], np.arange(len(item_vectors))
    for code, book in zip(codes, nodes, strict=True):
        used, renumbered = np.unique(code, return_inverse=True)
        first = np.unique(below, return_index=True)[1]
        parents.append(renumbered[first])
        vectors.append(book[used])
        below = renumbered
    return HierarchicalIndex.build(items, parents, item_vectors, "bottom_up", vectors)
