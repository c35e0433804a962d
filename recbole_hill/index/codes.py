"""Codes: the number of an item's node at each depth, and trees, node usage and drift from codes.

Depth 1 is the nodes just above the items, depth L the coarsest nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_hill.index.hierarchy import HierarchicalIndex, nearest_rows


@dataclass(frozen=True)
class NodeUsage:
    """How evenly the nodes of a depth are used.

    Attributes:
        nodes: Number of nodes.
        used: Number of nodes with at least one item.
        largest: Share of the items in the fullest node.
        entropy: Entropy of the distribution of items over nodes, divided by ln K: 1 if the nodes
            are used evenly, 0 if one node has all items.
    """

    nodes: int
    used: int
    largest: float
    entropy: float

    @classmethod
    def of(cls, codes: np.ndarray, n_nodes: int) -> "NodeUsage":
        """Returns the usage of nodes 0..n_nodes - 1.

        Args:
            codes: Node of each item, shape (N,).
            n_nodes: K.
        """
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
    """Returns how evenly an index uses its nodes, at depths 1..L; every node has an item."""
    sizes = enumerate(index.nodes_per_depth, start=1)
    return [NodeUsage.of(index.assignments(depth), size) for depth, size in sizes]


def drift(before: np.ndarray, after: np.ndarray, direction: str = "bottom_up") -> list[float]:
    """Returns the share of items whose node changed, at depths 1..L.

    Args:
        before: Nodes of the items that are in both snapshots, depth 1 first, shape (L, N).
        after: Later nodes of the same items, shape (L, N).
        direction: Direction of the index. A ``top_down`` node is a code prefix: an item whose
            coarse code changed has also moved at all finer depths.

    Raises:
        ValueError: If the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"drift needs codes of one shape, got {before.shape} and {after.shape}")
    moved = before != after
    if direction == "top_down":
        moved = np.logical_or.accumulate(moved[::-1])[::-1]
    return [float(x) for x in moved.mean(1)] if before.shape[1] else [0.0] * len(before)


def matched(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Renumbers later nodes by earlier ones, for snapshots whose node numbers are unrelated.

    A later node gets the number of the earlier node with which it shares most items (ties: the
    smallest number). So an item has moved if its later node is matched to another node than the
    item's earlier one. When a node splits, no item moves. When two nodes merge, the items of the
    smaller node move. An item that stays alone in its node has not moved.

    Args:
        before: Nodes of the items that are in both snapshots, depth 1 first, shape (L, N).
        after: Later nodes of the same items, with any numbers, shape (L, N).

    Returns:
        ``after`` with the node numbers of ``before``, as :func:`drift` needs it, shape (L, N).
    """
    renamed = np.empty_like(after)
    for depth, pair in enumerate(zip(after, before, strict=True)):
        (later, earlier), shared = np.unique(pair, axis=1, return_counts=True)
        order = np.lexsort((earlier, -shared, later))
        nodes, first = np.unique(later[order], return_index=True)
        renamed[depth] = earlier[order][first][np.searchsorted(nodes, after[depth])]
    return renamed


def codes_of_tree(index: HierarchicalIndex, codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the codes from which an index was published: its nodes, numbered as in codebooks.

    The vector of a node is a row of the codebook (for ``top_down``, after its parent's vector is
    subtracted). So the nearest row of the codebook is the row of the node.

    Args:
        index: An index that :meth:`recbole_hill.index.lti.LearnedIndex.publish` returned.
        codebooks: Codebooks of depths 1..L, each (K_d, D).

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
    """Makes a ``top_down`` index from residual codes.

    A node is a code prefix that occurs; its vector is the sum of the codewords on its path.

    Args:
        items: External item ids, (I,).
        codes: Codes of all items, coarsest depth first, each (I,).
        codebooks: Codewords of the same depths, each (K_d, D).
        item_vectors: Item vectors, shape (I, D); they decide each node's representative item (the
            member item closest to the node).
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
    """Makes a ``bottom_up`` index from the nodes of all items; nodes without items are left out.

    Args:
        items: External item ids, (I,).
        codes: Nodes of all items at depths 1..L, each (I,).
        nodes: Node vectors at the same depths, each (K_d, D).
        item_vectors: Item vectors, shape (I, D); they decide each node's representative item (the
            member item closest to the node).
    """
    parents, vectors, below = [], [], np.arange(len(item_vectors))
    for code, book in zip(codes, nodes, strict=True):
        used, renumbered = np.unique(code, return_inverse=True)
        first = np.unique(below, return_index=True)[1]
        parents.append(renumbered[first])
        vectors.append(book[used])
        below = renumbered
    return HierarchicalIndex.build(items, parents, item_vectors, "bottom_up", vectors)
