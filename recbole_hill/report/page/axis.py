"""Axes of a figure: the places of values and of ticks."""

import math
from dataclasses import dataclass

_SECONDS = (0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000)

_FINER = (*(0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 20, 30), *(60 * n for n in (1, 2, 5, 10, 20, 30)))
_FINER += tuple(3600 * n for n in (1, 2, 5, 10, 20, 50, 100))


@dataclass(frozen=True)
class Axis:
    """A linear scale, or a logarithmic one of seconds.

    Attributes:
        low: The value at ``start``.
        high: The value at ``end``.
        start: The place of the low end, in the figure's units.
        end: The place of the high end.
        log: Whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls, values: list[float], start: float, end: float, *, log: bool = False, room: float = 0.06
    ) -> "Axis":
        """Returns an axis that shows all values with room at both ends."""
        if log:
            values = [math.log10(max(value, 1e-3)) for value in values]
        low, high = min(values), max(values)
        margin = (high - low) * room or abs(high) * 0.05 or 1.0
        low, high = low - margin, high + margin
        return cls(10**low, 10**high, start, end, log) if log else cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        """Returns a value's place."""
        low, high, value = self.low, self.high, value
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, 1e-3))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 6) -> list[float]:
        """Returns about so many round values within the axis."""
        if self.log:
            return self._log_ticks()
        step = 10 ** math.floor(math.log10((self.high - self.low) / about))
        step *= next(f for f in (1, 2, 5, 10) if (self.high - self.low) / (step * f) <= about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        """Returns durations in common use; finer ones if few of them are within the axis."""
        for durations in (_SECONDS, _FINER):
            ticks = [value for value in durations if self.low <= value <= self.high]
            if len(ticks) > 2:
                break
        return ticks


def tick_text(value: float) -> str:
    """Returns a tick's number without needless zeros."""
    return f"{value:,.10g}"


def duration_text(seconds: float) -> str:
    """Returns seconds, minutes or hours, whichever is usual for a duration."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
