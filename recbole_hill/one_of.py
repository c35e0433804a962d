"""The check that a setting is one of a few words."""

from collections.abc import Collection


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
