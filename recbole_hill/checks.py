"""Checks of settings and vectors: one wording per check, which names the key, value and bounds."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

#: Rows that a message about bad vectors names.
_NAMED = 3


def integer(key: str, value, least: int = 1) -> int:
    """Returns a whole number that is at least ``least``.

    Args:
        key: What the value is of, as the message names it.
        value: Anything, as settings come from YAML.
        least: The lowest that is accepted.

    Raises:
        ValueError: Naming the key, the value and what is accepted.
    """
    if not is_integer(value) or value < least:
        raise ValueError(f"{key} must be an integer >= {least}, got {value!r}")
    return value


def rate(key: str, value) -> float:
    """Returns a share that leaves something over, in [0, 1); raises as :func:`integer` does."""
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{key} must be in [0, 1), got {value!r}")
    return value


def share(key: str, value) -> float:
    """Returns a share, in [0, 1]; raises as :func:`integer` does."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{key} must be in [0, 1], got {value!r}")
    return value


def positive(key: str, value) -> float:
    """Returns a number above 0; raises as :func:`integer` does."""
    if not is_number(value) or not value > 0:
        raise ValueError(f"{key} must be above 0, got {value!r}")
    return value


def is_number(value) -> bool:
    """Returns whether a value is a number and no truth value, which Python counts as one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value) -> bool:
    """Returns whether a value is a whole number and no truth value, which Python counts as one."""
    return isinstance(value, int) and not isinstance(value, bool)


def require_at_least(values, least: Mapping[str, float], whole: Collection[str]) -> None:
    """Refuses settings that are no number, or too small a one.

    Args:
        values: RecBole's Config or any mapping.
        least: The keys to look at, and the least value of each.
        whole: Keys whose values must be integers.

    Raises:
        ValueError: Naming the key, the value and what is accepted.
    """
    for key, bound in least.items():
        kind, fits = ("whole number", is_integer) if key in whole else ("number", is_number)
        if not fits(values[key]) or not values[key] >= bound:  # NaN is not
            raise ValueError(f"{key} must be a {kind} >= {bound}, got {values[key]!r}")


def one_of(key: str, value, accepted: Collection[str]) -> str:
    """Returns a value that is among those accepted.

    Args:
        key: What the value is of, as the message names it.
        value: Anything, as settings come from YAML.
        accepted: In the order in which the message names them.

    Returns:
        The value.

    Raises:
        ValueError: Naming the key, the value and what is accepted.
    """
    if value not in tuple(accepted):  # a dict or set would raise a TypeError at a list
        raise ValueError(f"{key} must be one of {', '.join(accepted)}, got {value!r}")
    return value


def require_finite(
    name: str, vectors: Tensor | np.ndarray, tokens: Sequence[str] | None = None
) -> None:
    """Refuses vectors with NaN or infinity.

    Args:
        name: What they are, for the message.
        vectors: Shape (N, D).
        tokens: The external id of each row, to be named in the row's place.

    Raises:
        ValueError: Naming how many rows, and the first of them.
    """
    bad = (~torch.as_tensor(vectors).isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        first = [str(row) if tokens is None else repr(str(tokens[row])) for row in bad[:_NAMED]]
        which = f"{'row' if tokens is None else 'id'} {', '.join(first)}"
        raise ValueError(
            f"{name} must be finite, but {len(bad):,} of {len(vectors):,} are not "
            f"({which}{', ...' if len(bad) > _NAMED else ''}); the model has diverged"
        )
