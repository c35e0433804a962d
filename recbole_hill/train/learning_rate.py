"""How the learning rate falls while a model trains."""

from dataclasses import dataclass

from torch.optim import Optimizer


@dataclass(frozen=True)
class LearningRateRule:
    """A rule without state: the learning rate is stored in the optimiser, so it survives a resume.

    Attributes:
        rule: ``constant``; ``exponential``: falls after every epoch by a factor; ``linear``: falls
            after every epoch by the same step, to ``least`` after the last epoch; ``plateau``:
            falls after every validation without a better score, and training continues from the
            best weights (BARS).
        factor: Factor of each fall, in (0, 1]; not used under ``linear``.
        least: Lower bound of the learning rate.
        step: Amount that ``linear`` subtracts after each epoch.
    """

    rule: str
    factor: float
    least: float
    step: float = 0.0

    @classmethod
    def from_config(cls, config) -> "LearningRateRule":
        """Reads the settings ``lr_*``, and for ``linear`` the number of epochs."""
        rule = config["lr_rule"] or "constant"
        factor = 0.1 if config["lr_factor"] is None else config["lr_factor"]
        least = config["lr_least"] or 0.0
        if rule != "linear":
            return cls(rule, factor, least)
        start, epochs = config["learning_rate"], config["epochs"]
        return cls(rule, factor, least, step=max(start - least, 0) / max(epochs, 1))

    def after_epoch(self, optimizer: Optimizer) -> None:
        """Lowers the learning rate if the rule is ``exponential`` or ``linear``."""
        if self.rule in ("exponential", "linear"):
            self._lower(optimizer)

    def after_no_gain(self, optimizer: Optimizer) -> bool:
        """Lowers the learning rate if the rule is ``plateau``, and returns whether it did.

        If it did, the caller goes back to the best weights.
        """
        if self.rule != "plateau":
            return False
        self._lower(optimizer)
        return True

    def _lower(self, optimizer: Optimizer) -> None:
        rate = optimizer.param_groups[0]["lr"]
        lower = rate - self.step if self.rule == "linear" else rate * self.factor
        set_rate(optimizer, max(lower, min(self.least, rate)))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Sets the learning rate of the first group; other groups keep their ratio to it."""
    first = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = rate if group["lr"] == first else group["lr"] * (rate / first)
