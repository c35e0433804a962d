"""Where the YAML folders are: inside an installed package, beside it in a checkout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def properties(*parts: str) -> Traversable:
    """Returns a file or folder under ``properties/``, e.g. ``properties("dataset", "x.yaml")``.

    The file itself need not exist; ask ``is_file()``.

    Raises:
        FileNotFoundError: If the folder is neither in the package nor beside it.
    """
    return _shipped("properties", parts)


def tuning(*parts: str) -> Traversable:
    """Returns a file or folder under ``tuning/``; see `properties`."""
    return _shipped("tuning", parts)


def _shipped(folder: str, parts: tuple[str, ...]) -> Traversable:
    # A wheel holds the folder inside the package; a checkout, editable or not, has it one level up.
    inside = files("recbole_hill").joinpath(folder)
    beside = Path(__file__).resolve().parent.parent / folder
    found = inside if inside.is_dir() else beside
    if not found.is_dir():
        raise FileNotFoundError(
            f"the folder {folder}/ of recbole_hill is neither in {inside} nor in {beside}: "
            "reinstall recbole-hill"
        )
    for part in parts:
        found = found.joinpath(part)
    return found
