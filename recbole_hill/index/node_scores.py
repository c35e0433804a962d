"""How far the scores of a node's items lie from the node's own."""

import numpy as np

from recbole_hill.index.hierarchy import HierarchicalIndex, squared_distances
from recbole_hill.index.score_space import score_map


def lead_of_best(index: HierarchicalIndex, item_vectors: np.ndarray) -> list[np.ndarray]:
    """Returns how much a node's best item is expected to score above the node, for |u| = 1.

    n normal scores of deviation s have a maximum of about s sqrt(2 ln n) above their mean. Here s
    is the root mean square of u'(x - m) over the node's items x, m the node's vector, for a user of
    length 1 whose direction is distributed as the items' own are, about their mean: with C their
    covariance, s^2 is the mean of (x - m)' C (x - m) / tr C. So a node that knows no users can tell
    a wide one, where a user may find much better than the mean, from a narrow one.

    Args:
        index: The tree, with K_d nodes at depth d.
        item_vectors: Shape (I, D); row r is the index's item r.

    Returns:
        Per depth 1..L, float32, shape (K_d,); 0 for a node of one item.
    """
    root = score_map(item_vectors, about=item_vectors.mean(0, dtype=np.float64))
    root /= max(np.linalg.norm(root), np.finfo(np.float32).tiny)
    points = item_vectors @ root
    found = []
    for depth, nodes in enumerate(index.vectors, start=1):
        node_of = index.assignments(depth)
        sizes = np.bincount(node_of)
        squares = squared_distances(points, nodes @ root, node_of)
        variance = np.bincount(node_of, weights=squares) / sizes
        found.append(np.sqrt(2 * np.log(sizes) * variance).astype(np.float32))
    return found
