"""BSPM: blurs a user's row, then sharpens it, by two differential equations without training.

Reference:
    Jeongwhan Choi et al. "Blurring-Sharpening Process Models for Collaborative Filtering."
    in SIGIR 2023.
"""

from torch import Tensor

from recbole_hill.model.bases.filter import FilterModel


class BSPM(FilterModel):
    """Blurring dr/dt = -(I - F) r, by one Euler step of size 1: F r; sharpening dr/dt = -F r.

    Late merge (LM) adds the ideal low-pass filter after sharpening. Early merge (EM) adds it
    before, and sharpens the sum:

        LM: sharpen(F r) + beta ideal(r)        EM: sharpen(F r + beta ideal(r))

    F = N^T N is symmetric, so ``n_steps`` RK4 steps are a polynomial of F, computed by products
    with sparse matrices alone. With ``average_times`` the result is the mean of the sharpened and
    the blurred signal, as in the authors' run on Yelp2018.

    Settings: ``merge`` (late | early), ``sharpen_time`` (T), ``solver`` (rk4 | euler), ``n_steps``,
    ``average_times``, ``ideal_rank``, ``ideal_weight`` (beta).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.merge = config["merge"]
        self.solver = config["solver"]
        self.time, self.n_steps = config["sharpen_time"], config["n_steps"]
        self.average_times = config["average_times"]

    def filter(self, signals: Tensor) -> Tensor:
        """Blurs and sharpens the signals, and adds the ideal filter early or late."""
        blurred = self.smooth(signals)
        ideal = self.ideal_weight * self.ideal(signals, 0.5) if self.ideal_weight else 0.0
        early = self.merge == "early"
        sharpened = self.sharpen(blurred + ideal if early else blurred)
        if self.average_times:
            sharpened = (sharpened + blurred) / 2
        return sharpened if early else sharpened + ideal

    def sharpen(self, signals: Tensor) -> Tensor:
        """Solves dr/dt = -F r from time 0 to T, shape (I, B)."""
        step, order = self.time / self.n_steps, 4 if self.solver == "rk4" else 1
        for _ in range(self.n_steps if self.time else 0):
            # For a linear equation RK4 is the series of the exponential up to the fourth power.
            term = total = signals
            for power in range(1, order + 1):
                term = self.smooth(term) * (-step / power)
                total = total + term
            signals = total
        return signals
