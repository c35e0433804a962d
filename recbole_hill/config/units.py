"""Durations and sizes as people write them."""

import re

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MIB = {"m": 1, "g": 1024}


def parse_duration(text: float | str, name: str = "time_budget") -> float:
    """Returns the seconds of ``90``, ``90s``, ``30m``, ``2h`` or ``1d``.

    Args:
        text: What was given.
        name: The option, for its error.

    Raises:
        ValueError: If it is none of these, or not above 0.
    """
    return _quantity(text, _SECONDS, f"{name} must be like 90s, 30m, 2h or 1d, got {text!r}")


def parse_mebibytes(text: str, name: str = "memory") -> int:
    """Returns the MiB of ``16g`` or ``500m``.

    Args:
        text: What was given.
        name: The option, for its error.

    Raises:
        ValueError: If it is neither, or not above 0.
    """
    return round(_quantity(text, _MIB, f"{name} must be like 16g or 500m, got {text!r}"))


def duration(seconds: float) -> str:
    """Returns seconds as people say them: 42 s, 3 min, 2 h 5 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def _quantity(text: float | str, units: dict[str, int], otherwise: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]?)", str(text).strip().lower())
    value = float(found[1]) * units.get(found[2], 0) if found else 0.0
    if value <= 0:
        raise ValueError(otherwise)
    return value
