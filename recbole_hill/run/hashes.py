"""The hashes of a finished run's files: what was changed, damaged or swapped later is found.

They are against accidents and quiet edits. Somebody who rewrites ``hashes.json`` too is not found.
A run that an older version finished has no such file, and its files are read unchecked.
"""

import json
import warnings
from collections.abc import Collection
from pathlib import Path

from recbole_hill.run.files import atomic_path, sha256_of
from recbole_hill.run.own_files import read_json

HASHES = "hashes.json"
#: Kinds of a run's files that are hashed; logs and the state of a stage are not.
_KINDS = (".json", ".jsonl", ".npz", ".parquet", ".safetensors", ".yaml")


def write_hashes(folder: Path) -> None:
    """Notes the SHA-256 of every file of a finished run; written last."""
    files = sorted(file.name for file in folder.iterdir() if file.suffix in _KINDS)
    _write(folder, {name: sha256_of(folder / name) for name in files if name != HASHES})


def add_hashes(folder: Path, names: Collection[str]) -> None:
    """Notes the SHA-256 of some files beside those noted before."""
    _write(folder, {**_read(folder), **{name: sha256_of(folder / name) for name in names}})


def forget_hashes(folder: Path) -> None:
    """Removes the notes, before a run goes on and writes its files again."""
    (folder / HASHES).unlink(missing_ok=True)


def is_noted(folder: Path, name: str) -> bool:
    """Returns whether a run wrote a file, be it there or not; see :func:`changed_files`."""
    return name in _read(folder)


def changed_files(folder: Path, *names: str) -> list[str]:
    """Returns the files that differ from those that the run wrote.

    Args:
        folder: The run's folder.
        names: Files to look at; none: all that are noted. An absent file has not changed, for its
            reader says so.

    Raises:
        ValueError: If the notes are damaged.
    """
    noted = _read(folder)
    looked_at = [name for name in names or noted if name in noted and (folder / name).is_file()]
    return [name for name in looked_at if sha256_of(folder / name) != noted[name]]


def require_unchanged(folder: Path, *names: str) -> None:
    """Refuses files that differ from those that the run wrote; see :func:`changed_files`.

    Raises:
        ValueError: If a file differs; the message names it.
    """
    if changed := changed_files(folder, *names):
        raise ValueError(f"{folder / changed[0]} was changed after the run: its SHA-256 is another")


def warn_if_changed(folder: Path, *names: str) -> None:
    """Warns of files that differ from those that the run wrote; see :func:`changed_files`."""
    for name in changed_files(folder, *names):
        warnings.warn(f"{folder / name} was changed after the run", stacklevel=3)


def _write(folder: Path, files: dict[str, str]) -> None:
    with atomic_path(folder / HASHES) as temporary:
        temporary.write_text(json.dumps({"sha256": files}, indent=1) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, str]:
    file = folder / HASHES
    if not file.is_file():
        return {}
    try:
        files = read_json(file, sha256=dict)["sha256"]
    except ValueError as error:
        raise ValueError(f"{file} does not list the hashes of the run's files: {error}") from error
    return {name: str(digest) for name, digest in files.items()}
