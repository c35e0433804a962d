"""EASE: linear regression of every item on all others, in closed form.

Reference:
    Harald Steck. "Embarrassingly Shallow Autoencoders for Sparse Data." in WWW 2019.
"""

import numpy as np
import scipy.sparse as sp
from tqdm import tqdm

from recbole_hill.model.bases.fit_once import FitOnceModel


class EASE(FitOnceModel):
    """Scores r B, where B = I - P / diag(P) has a zero diagonal and P = (R^T R + lambda I)^-1.

    The Gram matrix is inverted in place, so the memory is one I x I float32 array and one block of
    it. The array takes 6.7 GB for Gowalla and 33.6 GB for Amazon-Book. RecBole's class of this name
    is the same model. It inverts in float64, with several times the memory.

    Settings: ``reg_weight`` (lambda).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.reg_weight = config["reg_weight"]

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes B."""
        weights = gram(matrix, self.reg_weight)
        invert_in_place(weights)
        weights /= -weights.diagonal()[np.newaxis].copy()  # column j over P_jj
        np.fill_diagonal(weights, 0)
        self.weights = weights

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Returns the users' train rows times B, shape (B, I)."""
        return self.matrix[users] @ self.weights


def gram(matrix: sp.csr_matrix, ridge: float | np.ndarray, block: int = 2048) -> np.ndarray:
    """Returns R^T R + diag(ridge), shape (I, I), float32; ridge is a number or of shape (I,)."""
    n_items = matrix.shape[1]
    rows, columns = matrix.T.tocsr(), matrix.tocsr()
    result = np.zeros((n_items, n_items), dtype=np.float32)
    for start in range(0, n_items, block):
        some = slice(start, start + block)
        result[some] = (rows[some] @ columns).toarray()
    result[np.diag_indices(n_items)] += ridge
    return result


def invert_in_place(matrix: np.ndarray, block: int = 2048) -> None:
    """Inverts a symmetric positive definite matrix by Gauss-Jordan elimination of whole blocks.

    Such a matrix needs no pivots. LAPACK's Cholesky routines would take half the operations, but
    OpenBLAS's versions crash on an array as large as Gowalla's, 6.7 GB.

    Args:
        matrix: Shape (N, N), overwritten by its inverse.
        block: Rows eliminated at a time; the work space is two blocks of N columns.
    """
    n = len(matrix)
    for start in tqdm(
        range(0, n, block), desc="inverting", disable=n < 4 * block or None, leave=False
    ):
        pivot = slice(start, min(start + block, n))
        inverse = np.linalg.inv(matrix[pivot, pivot])
        row = inverse @ matrix[pivot]
        row[:, pivot] = inverse
        for other in range(0, n, block):
            if other == start:
                continue
            some = slice(other, min(other + block, n))
            factor = matrix[some, pivot].copy()
            matrix[some, pivot] = 0
            matrix[some] -= factor @ row
        matrix[pivot] = row
