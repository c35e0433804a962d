"""ChebyCF: a filter with any frequency response, by Chebyshev interpolation, without training.

Reference:
    Chanwoo Kim et al. "Graph Spectral Filtering with Chebyshev Interpolation for Recommendation."
    in SIGIR 2025.
"""

import numpy as np
from torch import Tensor

from recbole_hill.checks import integer, positive
from recbole_hill.model.bases.filter import FilterModel


class ChebyCF(FilterModel):
    """Scores D^b [h(L) + alpha V V^T] D^-b r, where h is a polynomial of degree K.

    L = I - 2 N^T N has its spectrum in [-1, 1], with low frequencies at -1. The frequency response
    is the plateau h(x) = (1 + |x|^phi) / 2 for x < 0 and (1 - x^phi) / 2 otherwise.

    Two details follow the authors' code, because the published numbers were made with them. The
    plateau is evaluated at the extrema of the Chebyshev polynomial of degree K, but these values
    are used as if they were at the roots of the polynomial of degree K + 1, where interpolation
    needs them. Extrema and values are rounded to three places.

    Settings: ``order`` (K), ``flatness`` (phi), ``ideal_rank``, ``ideal_weight`` (alpha),
    ``degree_power`` (b).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.coefficients = chebyshev_coefficients(config["order"], config["flatness"])
        self.degree_power = config["degree_power"]

    def filter(self, signals: Tensor) -> Tensor:
        """Applies the interpolated filter by Chebyshev's recursion, and adds the ideal filter."""
        before, after = self.degree_scales(self.degree_power)
        scaled = before * signals
        previous, current = scaled, self._laplacian(scaled)
        total = self.coefficients[0] * previous + self.coefficients[1] * current
        for coefficient in self.coefficients[2:]:
            previous, current = current, 2 * self._laplacian(current) - previous
            total = total + coefficient * current
        if self.ideal_weight:
            total = total + self.ideal_weight * (self.basis @ (self.basis.T @ scaled))
        return after * total

    def _laplacian(self, signals: Tensor) -> Tensor:
        return signals - 2 * self.smooth(signals)


def chebyshev_coefficients(order: int, flatness: float) -> list[float]:
    """Returns the K + 1 coefficients of the interpolated plateau.

    Args:
        order: K, at least 1.
        flatness: phi, above 0; a larger value makes the middle of the response flatter.

    Raises:
        ValueError: If the order or the flatness is out of range.
    """
    n = integer("order", order) + 1
    positive("flatness", flatness)
    extrema = np.cos(np.pi * np.arange(order, -1, -1) / order).round(3)
    plateau = (0.5 - 0.5 * np.sign(extrema) * np.abs(extrema) ** flatness).round(3)
    angles = np.pi * (np.arange(n, 0, -1) - 0.5) / n  # of the roots, ascending
    basis = np.cos(np.outer(np.arange(n), angles))  # T_k at the roots
    coefficients = 2 / n * basis @ plateau
    coefficients[0] /= 2
    return coefficients.tolist()
