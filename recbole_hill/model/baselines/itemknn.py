"""ItemKNN: an item scores the sum of its cosines with the user's items among its neighbours.

Reference:
    Mukund Deshpande and George Karypis. "Item-based Top-N Recommendation Algorithms." in TOIS 2004.
"""

from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from recbole_hill.model.bases.fit_once import FitOnceModel

#: Items whose products with all others are held at once.
_BLOCK = 1024


class ItemKNN(FitOnceModel):
    """Scores r W, where column j of W holds the cosines of item j with its k nearest items.

    RecBole's class of this name is the same model up to ties, which it breaks as its sort happens
    to; here the item of the lower id comes first. It makes dense columns, and takes fifty times as
    long.

    Settings: ``k``, ``shrink``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.k, self.shrink = config["k"], config["shrink"]

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes W."""
        self.weights = nearest_items(matrix, self.k, self.shrink)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Returns the users' train rows times W, shape (B, I)."""
        return (self.matrix[users] @ self.weights).toarray()


def nearest_items(matrix: sp.csr_matrix, k: int, shrink: float = 0.0) -> sp.csr_matrix:
    """Returns each item's cosines with its k nearest items.

    Args:
        matrix: Binary train matrix, shape (U, I).
        k: Number of an item's neighbours; of equal cosines the lower id is nearer.
        shrink: Number added to the cosine's denominator.

    Returns:
        Shape (I, I), float32; column j has at most k entries, none on the diagonal.
    """
    n_items = matrix.shape[1]
    items = matrix.T.tocsr()
    norms = np.sqrt(np.asarray(matrix.sum(axis=0), dtype=np.float32)).ravel()
    columns, rows, values = [], [], []
    for start in range(0, n_items, _BLOCK):
        products = items[start : start + _BLOCK] @ matrix
        ids, bounds = products.indices, products.indptr
        item = start + np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        cosines = products.data / (norms[item] * norms[ids] + np.float32(shrink + 1e-6))
        cosines[ids == item] = 0
        best = [
            low + largest(cosines[low:high], ids[low:high], k) for low, high in pairwise(bounds)
        ]
        best = np.concatenate(best)
        columns.append(item[best])
        rows.append(ids[best])
        values.append(cosines[best])
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_matrix(entries, shape=(n_items, n_items), dtype=np.float32)


def largest(values: np.ndarray, ids: np.ndarray, k: int) -> np.ndarray:
    """Returns the places of the k largest values above 0; of equal ones those of the lowest ids."""
    if len(values) <= k:
        return (values > 0).nonzero()[0]
    least = np.partition(values, len(values) - k)[len(values) - k]
    above = (values > least).nonzero()[0]
    if least <= 0:
        return above
    equal = (values == least).nonzero()[0]
    if len(above) + len(equal) > k:
        equal = equal[ids[equal].argsort()[: k - len(above)]]
    return np.concatenate((above, equal))
