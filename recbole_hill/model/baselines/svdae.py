"""SVD-AE: a linear auto-encoder of low rank, in closed form.

Reference:
    Seoyoung Hong et al. "SVD-AE: Simple Autoencoders for Collaborative Filtering." in IJCAI 2024.
"""

from typing import ClassVar

import numpy as np

from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.fitted_tables import FittedTables
from recbole_hill.model.bases.spectral import Smoother, leading_settings


class SVDAE(FittedTables):
    """Scores N B, where B = V S^-1 U^T R minimises |R - N B| for N cut to its K leading parts.

    N = D_u^-1/2 R D_i^-1/2, and U S V^T are its leading parts. N V S^-1 is U, so the scores are
    U U^T R, an inner product that an index can search: a user's vector is the user's row of U, an
    item's vector is the item's row of R^T U.

    The singular vectors are found by subspace iteration, as in the authors' code. The iteration has
    64 more vectors than K, which the authors' has not, so it is nearer to the exact ones.

    Settings: ``FittedTables``'s, ``embedding_size`` (K), ``svd_iterations``.
    """

    #: The setting that counts singular vectors.
    rank_setting: ClassVar[str] = "embedding_size"

    def __init__(self, config, dataset):
        self.rank, self.iterations = leading_settings(config, "embedding_size", dataset)
        super().__init__(config, dataset)
        self.history = train_matrix(dataset)

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Computes the singular vectors, and the user and item vectors."""
        smooth = Smoother(self.history, "cpu")
        _, vectors = smooth.leading(self.rank, iterations=self.iterations, rng=rng)
        users = smooth.left_vectors(vectors)
        return users, self.history.T @ users
