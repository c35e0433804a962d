"""How far the best item of a node is expected to score above the node itself."""

import numpy as np

from recbole_hill.index.hierarchy import HierarchicalIndex, squared_distances
from recbole_hill.index.score_space import score_map


def lead_of_best(index: HierarchicalIndex, item_vectors: np.ndarray) -> list[np.ndarray]:
    """Returns how much a node's best item is expected to score above the node, for |u| = 1.

    The maximum of n normal scores with standard deviation s lies about s sqrt(2 ln n) above their
    mean. Let x be the items of a node and m its vector. s is the root mean square of u'(x - m), for
    a user u of length 1 whose direction is distributed as the items' directions about their mean:
    with the items' covariance C, s^2 is the mean of (x - m)' C (x - m) / tr C. So a node with
    widely spread items gets a larger lead than a narrow node, because a user may find an item there
    that is much better than the mean. No user vectors are needed.

    Args:
        index: The tree, with K_d nodes at depth d (depth 1 is the nodes just above the items).
        item_vectors: Shape (I, D); row r is item r of the index.

    Returns:
        One array per depth 1..L, float32, shape (K_d,); 0 for a node with one item.
    """
    root = score_map(item_vectors, about=item_vectors.mean(0, dtype=np.float64))
    root /= max(np.linalg.norm(root), np.finfo(np.float32).tiny)
    points = item_vectors @ root
    leads = []
    for depth, nodes in enumerate(index.vectors, start=1):
        node_of = index.assignments(depth)
        sizes = np.bincount(node_of)
        squares = squared_distances(points, nodes @ root, node_of)
        variance = np.bincount(node_of, weights=squares) / sizes
        leads.append(np.sqrt(2 * np.log(sizes) * variance).astype(np.float32))
    return leads
