"""Reads the JSON and YAML files that we wrote. Anything may stand in them by now."""

import json
from pathlib import Path

import yaml

from recbole_hill.config.dialect import load_settings

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    type(None): "null",
}


def read_json(file: str | Path, /, **of: type | tuple[type, ...]) -> dict:
    """Reads a file that holds one JSON object.

    Args:
        file: The file.
        **of: Keys that the object must have, each with the types that its value may have.

    Returns:
        The object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, is not whole, or holds anything else. The message names
            the file.
    """
    return parse_json(_bytes(file), file, **of)


def read_yaml(file: str | Path, /, **of: type | tuple[type, ...]) -> dict:
    """Reads a file that holds settings; see :func:`read_json`."""
    try:
        found = load_settings(_bytes(file).decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no settings")
    return _checked(found, file, of)


def parse_json(data: bytes | str, name: object, /, **of: type | tuple[type, ...]) -> dict:
    """Reads one JSON object of a text; see :func:`read_json`.

    Args:
        data: The text; bytes are UTF-8.
        name: What the message names.
        **of: As for :func:`read_json`.
    """
    try:
        found = json.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not whole JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} must hold an object, got {_shown(found)}")
    return _checked(found, name, of)


def _bytes(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error


def _checked(found: dict, name: object, of: dict) -> dict:
    for key, kinds in of.items():
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(found.get(key), kinds) or key not in found:
            accepted = " or ".join(_KINDS[kind] for kind in kinds)
            got = _shown(found[key]) if key in found else "nothing"
            raise ValueError(f"{name}: {key} must be {accepted}, got {got}")
    return found


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
