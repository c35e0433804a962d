"""EASE: linear regression of every item on all others, in closed form.

Reference:
    Harald Steck. "Embarrassingly Shallow Autoencoders for Sparse Data." in WWW 2019.
"""

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import spotrf, spotri

from recbole_hill.model.fit_once import FitOnceModel


class EASE(FitOnceModel):
    """Scores r B, where B = I - P / diag(P) has a zero diagonal and P = (R^T R + lambda I)^-1.

    One I x I float32 array is all that is held: the Gram matrix is inverted in place through its
    Cholesky factor. Gowalla's takes 6.7 GB. RecBole's class of this name is the same model; it
    inverts in float64 through a general inverse, with several times the memory and the time.

    Settings: ``reg_weight`` (lambda).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]
        if not self.reg_weight > 0:
            raise ValueError(f"reg_weight must be above 0, got {self.reg_weight!r}")

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes B.

        Raises:
            ValueError: If there are more items than LAPACK's 32-bit index can address.
        """
        n_items = matrix.shape[1]
        if n_items**2 >= 2**31:
            raise ValueError(
                f"EASE on {n_items - 1} items needs an array of {n_items**2 * 4 / 2**30:.0f} GiB, "
                "beyond LAPACK's 32-bit index; up to 46,340 items it runs"
            )
        weights = gram(matrix, self.reg_weight)
        weights, failed = spotrf(weights, lower=1, overwrite_a=1)
        if not failed:
            weights, failed = spotri(weights, lower=1, overwrite_c=1)
        if failed:
            raise ValueError(f"EASE could not invert the Gram matrix (LAPACK says {failed})")
        diagonal = weights.diagonal().copy()
        mirror_lower(weights)
        weights /= -diagonal  # column j over P_jj
        np.fill_diagonal(weights, 0)
        self.weights = weights

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Returns the rows times B, shape (B, I)."""
        return self.matrix[users] @ self.weights


def gram(matrix: sp.csr_matrix, ridge: float, block: int = 2048) -> np.ndarray:
    """Returns R^T R + ridge I, shape (I, I), float32 in LAPACK's column order."""
    n_items = matrix.shape[1]
    columns = matrix.tocsc()
    result = np.zeros((n_items, n_items), dtype=np.float32, order="F")
    for start in range(0, n_items, block):
        stop = min(start + block, n_items)
        result[:, start:stop] = (columns.T @ columns[:, start:stop]).toarray()
    result[np.diag_indices(n_items)] += ridge
    return result


def mirror_lower(matrix: np.ndarray, block: int = 2048) -> None:
    """Copies the lower triangle of a square matrix to the upper one, in place."""
    n = len(matrix)
    for start in range(0, n, block):
        stop = min(start + block, n)
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
        corner = matrix[start:stop, start:stop]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
