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
    """Scores (1 - w) linear + w ideal, the parts of a user's signal over users and items.

    With N = D_u^-1/2 R D_i^-1/2, a user's signal s is the user's row of [N N^T, R]: similarities to
    all users, and train items. The linear filter is that of the items alone, as in GF-CF. The ideal
    filter takes the K lowest frequencies of an augmented graph over users and items:

        linear(r) = D_i^b N^T N D_i^-b r        ideal(s) = D^b X X^T D^-b s, cut to the items

    D holds the column sums of [N N^T, R], which are D_i for items. X are the K leading eigenvectors
    of the normalised adjacency of [[R D_i^-1 R^T, R], [R^T, R^T D_u^-1 R]].

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
        """Computes the singular vectors, and the spectrum of a train row's similarities."""
        super().fit(matrix)
        similar = self.smooth.normalized  # N
        vectors = self.smooth.left_vectors(self.basis.cpu().numpy())
        total = similar @ (similar.T @ np.ones(len(vectors)))  # of the columns of N N^T
        scale = np.where(total > 0, total, 1) ** -self.degree_power
        spectrum = similar.T @ (scale[:, np.newaxis] * vectors)
        self.user_basis = torch.from_numpy(spectrum.astype(np.float32)).to(self.device)

    def filter(self, signals: Tensor) -> Tensor:
        """Adds the linear and the ideal filter."""
        before, after = self.degree_scales(self.degree_power)
        linear = self.smooth(before * signals)
        # A row of N N^T is the row of N times N^T; N^T is a part of user_basis.
        to_normalized, _ = self.degree_scales(0.5)
        rows = to_normalized * signals / signals.sum(dim=0).clamp_min(1).sqrt()
        spectrum = self.basis.T @ (before * signals) + self.user_basis.T @ rows
        ideal = self.basis @ spectrum / 2  # the vectors of either side have a norm of 2^-1/2
        return after * ((1 - self.ideal_weight) * linear + self.ideal_weight * ideal)
