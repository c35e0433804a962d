"""The titles of a run's items, kept in its folder, so that a path shows names beside ids."""

import json
from collections.abc import Collection
from pathlib import Path

from recbole_hill.run.files import atomic_path
from recbole_hill.run.hashes import require_unchanged
from recbole_hill.run.own_files import read_json

TITLES = "titles.json"


def save_titles(folder: Path, titles: dict[str, str], items: Collection[str]) -> None:
    """Writes the titles of a run's items to its folder, if there are any."""
    own = {item: titles[item] for item in items if item in titles}
    if own:
        with atomic_path(folder / TITLES) as temporary:
            temporary.write_text(json.dumps(own), encoding="utf-8")


def read_titles(folder: Path) -> dict[str, str]:
    """Reads what :func:`save_titles` wrote; empty where it wrote nothing.

    Raises:
        ValueError: If the file is damaged, or was changed after the run.
    """
    if not (folder / TITLES).is_file():
        return {}
    require_unchanged(folder, TITLES)
    return {item: str(title) for item, title in read_json(folder / TITLES).items()}
