"""RDLAE: EASE with dropout of the train items, and a bound on the diagonal instead of zeros.

Reference:
    Jaewan Moon et al. "It's Enough: Relaxing Diagonal Constraints in Linear Autoencoders for
    Recommendation." in SIGIR 2023.
"""

import numpy as np
import scipy.sparse as sp

from recbole_hill.model.baselines.ease import EASE, gram, invert_in_place


class RDLAE(EASE):
    """Scores r B, where B minimises |R - R B|^2 + |G^1/2 B|^2 with no diagonal entry above xi.

    G is diagonal, with the entries p / (1 - p) n_j + lambda: dropout at the rate p of the train
    items, n_j of them for item j, in the mean, and EASE's ridge. With C = (R^T R + G)^-1,

        B = I - C diag(max(G_jj, (1 - xi) / C_jj))

    Its limits have names: EASE (p = 0, xi = 0), EDLAE (xi = 0), RLAE (p = 0), and the same with
    xi = 1, which bounds nothing. The authors' code sets the diagonal of B to 0 at last; that
    changes the scores of a user's own train items alone.

    The memory is EASE's.

    Settings: EASE's, ``dropout_rate`` (p), ``diagonal_bound`` (xi).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.dropout_rate = config["dropout_rate"]
        self.diagonal_bound = config["diagonal_bound"]

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes B."""
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        ridge = self.dropout_rate / (1 - self.dropout_rate) * counts + self.reg_weight
        weights = gram(matrix, ridge)
        invert_in_place(weights)
        factor = np.maximum(ridge, (1 - self.diagonal_bound) / weights.diagonal())
        weights *= -factor.astype(np.float32)
        weights[np.diag_indices(len(weights))] += 1
        self.weights = weights
