"""Checks of settings and vectors; the message of each names the key, the value and the bounds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # serving a finished run checks its input, and need not wait for torch
    from torch import Tensor

#: Largest size of a number in a vector: the squares of vectors of it still add up in float32. In
#: FAISS, larger ones end the process.
LARGEST = 1e15
#: Number of rows that a message about bad vectors names.
_NAMED = 3


def integer(key: str, value, least: int = 1) -> int:
    """Returns a whole number that is at least ``least``.

    Args:
        key: Name of the setting, for the message.
        value: Value of any type, as settings come from YAML.
        least: The smallest accepted number.

    Raises:
        ValueError: If the value does not fit. The message names the key, the value and what is
            accepted.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{key} must be an integer >= {least}, got {value!r}")
    return value


def positive(key: str, value) -> float:
    """Returns a number above 0; raises as :func:`integer` does."""
    if not is_number(value) or not value > 0:
        raise ValueError(f"{key} must be a number above 0, got {value!r}")
    return value


def is_number(value) -> bool:
    """Returns whether a value is a number; True and False are no numbers here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite_number(value) -> bool:
    """Returns whether a value is a number, and neither NaN nor infinite."""
    return is_number(value) and math.isfinite(value)


def is_integer(value) -> bool:
    """Returns whether a value is a whole number; True and False are no numbers here."""
    return isinstance(value, int) and not isinstance(value, bool)


def one_of(key: str, value, accepted: Collection[str]) -> str:
    """Returns a value that is one of the accepted values.

    Args:
        key: Name of the setting, for the message.
        value: Value of any type, as settings come from YAML.
        accepted: Accepted values, in the order of the message.

    Returns:
        The value.

    Raises:
        ValueError: If the value does not fit. The message names the key, the value and what is
            accepted.
    """
    if value not in tuple(accepted):  # `in` a dict or set raises a TypeError if the value is a list
        raise ValueError(f"{key} must be one of {', '.join(accepted)}, got {value!r}")
    return value


def require_finite(
    name: str, vectors: Tensor | np.ndarray, tokens: Sequence[str] | None = None
) -> None:
    """Refuses vectors with NaN, infinity or numbers whose squares float32 cannot add up.

    Args:
        name: Name of the vectors, for the message.
        vectors: Shape (N, D).
        tokens: External id of each row, which the message names instead of the row number.

    Raises:
        ValueError: If a vector does not fit. The message names the number of such rows and the
            first of them.
    """
    is_array = isinstance(vectors, np.ndarray)
    sizes = np.abs(vectors if is_array else vectors.detach().cpu().numpy())
    bad = np.flatnonzero(~(sizes <= LARGEST).all(1)).tolist()  # false for NaN
    if bad:
        first = [str(row) if tokens is None else repr(str(tokens[row])) for row in bad[:_NAMED]]
        which = f"{'row' if tokens is None else 'id'} {', '.join(first)}"
        raise ValueError(
            f"{name} must be finite, but {len(bad):,} of {len(vectors):,} are not "
            f"({which}{', ...' if len(bad) > _NAMED else ''}); the model has diverged, accepted "
            f"are numbers up to {LARGEST:g} in size"
        )
