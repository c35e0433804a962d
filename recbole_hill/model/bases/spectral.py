"""The normalised train matrix as a filter, and its leading singular vectors."""

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import svds
from sklearn.utils.extmath import randomized_svd
from torch import Tensor


class Smoother:
    """Applies N^T N, N = D_u^-1/2 R D_i^-1/2, to signals over the items, by two sparse products.

    The item-by-item matrix is never made. Users and items without interactions, RecBole's padding
    among them, have empty rows and columns.

    Args:
        matrix: Binary train matrix R, shape (U, I).
        device: Device of the products.

    Attributes:
        normalized: N as a SciPy matrix, shape (U, I).
        item_degree: Number of users of each item, shape (I,).
    """

    def __init__(self, matrix: sp.csr_matrix, device: torch.device):
        matrix = sp.csr_matrix(matrix, dtype=np.float32)
        user_degree = np.diff(matrix.indptr)
        self.item_degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
        self.normalized = (
            sp.diags(power(user_degree, -0.5)) @ matrix @ sp.diags(power(self.item_degree, -0.5))
        ).tocsr()
        self._forward = _to_torch(self.normalized, device)
        self._backward = _to_torch(self.normalized.T.tocsr(), device)

    def __call__(self, signals: Tensor) -> Tensor:
        """Returns N^T N signals; signals are columns, shape (I, B)."""
        return self._backward @ (self._forward @ signals)

    def ideal(self, rank: int) -> np.ndarray:
        """Returns the ``rank`` leading right singular vectors of N as columns, shape (I, rank).

        Raises:
            ValueError: If the rank is not below both dimensions of the matrix.
        """
        least = min(self.normalized.shape)
        if not 0 < rank < least:
            raise ValueError(f"ideal_rank must be between 1 and {least - 1}, got {rank}")
        # A fixed start makes the result repeatable; ones are not orthogonal to the leading vector.
        start = np.ones(least, dtype=np.float32)
        return svds(self.normalized, k=rank, v0=start, return_singular_vectors="vh")[2].T

    def leading(
        self, rank: int, *, iterations: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds leading singular values and right singular vectors by subspace iteration.

        It suits ranks in the hundreds and above, where the Lanczos iteration of :meth:`ideal` is
        slow (Halko et al., SIAM Review 2011).

        Args:
            rank: Number of singular vectors.
            iterations: Number of subspace iterations.
            rng: Draws the seed of the start.

        Returns:
            Values in falling order, shape (rank,), and vectors as columns, shape (I, rank).
        """
        _, values, vectors = randomized_svd(
            self.normalized,
            rank,
            n_oversamples=64,
            n_iter=iterations,
            power_iteration_normalizer="LU",
            random_state=int(rng.integers(2**31)),
        )
        return values, vectors.T

    def left_vectors(self, right: np.ndarray) -> np.ndarray:
        """Returns the left singular vectors of N that belong to right ones, N v / |N v|.

        A singular value below the root of float32's precision is rounding: :meth:`ideal` squares
        the matrix. Its left vector is 0.

        Args:
            right: Right singular vectors v as columns, shape (I, K).

        Returns:
            Shape (U, K), float32.
        """
        left = self.normalized @ right
        values = np.linalg.norm(left, axis=0)
        known = values > np.finfo(np.float32).eps ** 0.5  # of at most 1
        return (left * (known / np.where(known, values, 1))).astype(np.float32)


def low_rank_factors(
    matrix: sp.csr_matrix, vectors: np.ndarray, degree_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two factors of the filter R D^-b V V^T D^b, where D are the item degrees.

    Args:
        matrix: Binary train matrix R, shape (U, I).
        vectors: V, shape (I, K).
        degree_power: b.

    Returns:
        R D^-b V, shape (U, K), and D^b V, shape (I, K); float32.
    """
    degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
    before, after = (power(degree, sign * degree_power)[:, None] for sign in (-1, 1))
    return matrix @ (before * vectors), after * vectors


def leading_settings(config, key: str, dataset) -> tuple[int, int]:
    """Returns the rank, the setting ``key``, and the iterations of :meth:`Smoother.leading`.

    Raises:
        ValueError: If one is not an integer in its range. The rank must be below both dimensions.
    """
    rank, iterations = config[key], config["svd_iterations"]
    most = min(dataset.user_num, dataset.item_num) - 2
    if not isinstance(rank, int) or not 0 < rank <= most:
        raise ValueError(f"{key} must be between 1 and {most}, got {rank!r}")
    return rank, iterations


def power(degree: np.ndarray, exponent: float) -> np.ndarray:
    """Returns degree ** exponent, and 0 where the degree is 0; float32."""
    safe = np.maximum(degree, 1).astype(np.float64) ** exponent
    return np.where(degree > 0, safe, 0).astype(np.float32)


def _to_torch(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        size=matrix.shape,
        check_invariants=False,
    ).to(device)
