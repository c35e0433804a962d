"""Filters of the users' train rows: the common part of the training-free spectral models."""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_hill.model.bases.fit_once import FitOnceModel
from recbole_hill.model.bases.spectral import Smoother, power


class FilterModel(FitOnceModel):
    """Scores items by filtering each user's train row; a subclass defines ``filter``.

    Signals are columns, one per user. ``smooth`` is a
    :class:`~recbole_hill.model.bases.spectral.Smoother`.

    Settings: ``ideal_rank`` (number of singular vectors of the ideal low-pass filter; 0 for none),
    ``ideal_weight`` (weight of the ideal filter).
    """

    #: The setting that counts singular vectors.
    rank_setting: ClassVar[str] = "ideal_rank"

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.ideal_rank = config["ideal_rank"]
        self.ideal_weight = config["ideal_weight"]
        if self.ideal_weight and not self.ideal_rank:
            raise ValueError(
                f"ideal_weight must be 0 at ideal_rank 0, which has no ideal filter, got "
                f"{self.ideal_weight!r}"
            )

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Normalises the matrix and computes the singular vectors of the ideal filter."""
        self.smooth = Smoother(matrix, self.device)
        vectors = np.zeros((matrix.shape[1], 0))
        if self.ideal_rank:
            vectors = self.smooth.ideal(self.ideal_rank)
        self.basis = torch.from_numpy(vectors.astype(np.float32)).to(self.device)

    def filter(self, signals: Tensor) -> Tensor:
        """Filters signals in columns.

        Args:
            signals: Train rows, shape (I, B).

        Returns:
            Shape (I, B).
        """
        raise NotImplementedError

    def ideal(self, signals: Tensor, exponent: float) -> Tensor:
        """Returns D^e V V^T D^-e signals, the part of the signals at the lowest frequencies.

        Args:
            signals: Shape (I, B).
            exponent: e, the exponent of the item degrees D.
        """
        before, after = self.degree_scales(exponent)
        return after * (self.basis @ (self.basis.T @ (before * signals)))

    def degree_scales(self, exponent: float) -> tuple[Tensor, Tensor]:
        """Returns the item degrees to the powers -e and e, each (I, 1); 0 for unseen items."""
        return tuple(
            torch.from_numpy(power(self.smooth.item_degree, e)).to(self.device).unsqueeze(1)
            for e in (-exponent, exponent)
        )

    @torch.no_grad()
    def scores(self, users: np.ndarray) -> np.ndarray:
        """Returns the filtered train rows, shape (B, I)."""
        rows = torch.from_numpy(self.matrix[users].T.toarray()).to(self.device)
        return self.filter(rows).T.cpu().numpy()
