"""FAISS's inverted file over a learned index: a list per depth-1 node."""

import numpy as np

from recbole_hill.host.optional import require_faiss
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.widths import require_fit


def inverted_file(index: HierarchicalIndex, item_vectors: np.ndarray):
    """Returns a FAISS ``IndexIVFFlat`` by inner product over the index's depth-1 nodes.

    Args:
        index: The index. Its nodes are the centroids; the items of a node are the node's list.
        item_vectors: Shape (I, D), float32; the ids in FAISS are row numbers.

    Raises:
        ValueError: If the index and the vectors do not fit.
        ImportError: If FAISS is not installed.
    """
    require_fit(index, item_vectors)
    faiss = require_faiss("retrieval: faiss")
    from faiss.contrib.ivf_tools import add_preassigned

    n_items, dim = item_vectors.shape
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(np.ascontiguousarray(index.vectors[0]))
    # With a quantizer that already has its nodes, the index counts as trained; `train` would move
    # them.
    built = faiss.IndexIVFFlat(quantizer, dim, len(index.vectors[0]), faiss.METRIC_INNER_PRODUCT)
    # FAISS takes raw pointers to these arrays: the names keep the arrays alive until the call
    # returns.
    vectors = np.ascontiguousarray(item_vectors)
    nodes = np.ascontiguousarray(index.parents[0], dtype=np.int64)
    ids = np.arange(n_items, dtype=np.int64)
    add_preassigned(built, vectors, nodes, ids)
    return built
