"""GF-CF: a linear low-pass filter plus an ideal low-pass filter, without training.

Reference:
    Yifei Shen et al. "How Powerful is Graph Convolution for Recommendation?" in CIKM 2021.
"""

from torch import Tensor

from recbole_hill.model.bases.filter import FilterModel


class GFCF(FilterModel):
    """Scores F r + alpha D^1/2 V V^T D^-1/2 r, where F = N^T N and V are its leading eigenvectors.

    Settings: ``ideal_rank``, ``ideal_weight`` (alpha).
    """

    def filter(self, signals: Tensor) -> Tensor:
        """Returns the sum of the linear and the ideal low-pass filter."""
        return self.smooth(signals) + self.ideal_weight * self.ideal(signals, 0.5)
