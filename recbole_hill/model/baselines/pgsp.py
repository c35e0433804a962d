"""PGSP: a linear and an ideal low-pass filter of a user's items and similar users, untrained.

Reference:
    Jiahao Liu et al. "Personalized Graph Signal Processing for Collaborative Filtering."
    in WWW 2023.
"""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_hill.model.bases.filter import FilterModel


class PGSP(FilterModel):
    """Scores (1 - w) D_i^b N^T N D_i^-b r + w D^b X X^T D^-b s (cut to the items).

    r is the user's train row. s is the user's row of [N N^T, R], N = D_u^-1/2 R D_i^-1/2: the
    similarities to all users, then r. The first part is a linear filter. The second is an ideal
    low-pass filter over users and items. D holds the column sums of [N N^T, R]. X are the K leading
    eigenvectors of the normalised adjacency of an augmented graph,
    [[R D_i^-1 R^T, R], [R^T, R^T D_u^-1 R]].

    The augmented graph is never made. Its degrees are twice those of R, so its normalised adjacency
    is [[N N^T, N], [N^T, N^T N]] / 2. Singular vectors u and v of N, of the value z, give it the
    eigenvectors [u; v] / 2^1/2 and [u; -v] / 2^1/2, of the values (z^2 + z) / 2 >= 0 and
    (z^2 - z) / 2 <= 0. So X holds the leading singular vectors of N.

    Settings: ``ideal_rank`` (K), ``ideal_weight`` (w), ``degree_power`` (b).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.degree_power = config["degree_power"]

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes the singular vectors; those of the users as N^T D^-b u, a factor of N's rows."""
        super().fit(matrix)
        normalized = self.smooth.normalized  # N
        users = self.smooth.left_vectors(self.basis.cpu().numpy())
        degree = normalized @ (normalized.T @ np.ones(len(users)))  # the column sums of N N^T
        scale = np.where(degree > 0, degree, 1) ** -self.degree_power
        spectrum = normalized.T @ (scale[:, np.newaxis] * users)
        self.user_basis = torch.from_numpy(spectrum.astype(np.float32)).to(self.device)

    def filter(self, signals: Tensor) -> Tensor:
        """Adds the linear and the ideal filter."""
        before, after = self.degree_scales(self.degree_power)
        of_items = before * signals
        rows = self.degree_scales(0.5)[0] * signals / signals.sum(dim=0).clamp_min(1).sqrt()  # of N
        spectrum = self.basis.T @ of_items + self.user_basis.T @ rows
        ideal = self.basis @ spectrum / 2  # each half of an eigenvector has a norm of 2^-1/2
        linear = self.smooth(of_items)
        return after * ((1 - self.ideal_weight) * linear + self.ideal_weight * ideal)
