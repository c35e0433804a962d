"""What all prepared folders share: a valid name, published counts, files and their hashes."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import TypeVar, get_args, get_origin, get_type_hints

import yaml

from recbole_hill.config.properties import properties
from recbole_hill.run.files import alone_in, sha256_of
from recbole_hill.run.own_files import read_json

_Record = TypeVar("_Record")


def dataset_settings(name: str) -> dict:
    """Returns ``properties/dataset/name.yaml``, or {} for a name without such a file.

    Raises:
        ValueError: If the name cannot be a dataset's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f"dataset name must be letters, digits, '.', '_' and '-', starting with a letter or "
            f"digit, got {name!r}"
        )
    file = properties("dataset", f"{name}.yaml")
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}


def described(path: Path) -> dict[str, int | str]:
    """Returns a file's ``bytes`` and ``sha256``."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def combined(files: dict[str, dict]) -> str:
    """Returns one hash of several described files; it depends on their order."""
    hashes = "\n".join(entry["sha256"] for entry in files.values())
    return hashlib.sha256(hashes.encode("ascii")).hexdigest()


def made_otherwise(
    folder: Path, name: str, source: str | Path, differ: Sequence[str] = ()
) -> ValueError:
    """Returns the error for a folder that holds data of this name, made from something else.

    Args:
        folder: The folder.
        name: The dataset's name.
        source: The files that were given now.
        differ: The options that differ, where the files are the same.
    """
    made_from = f"other files than those in {source}"
    if differ:
        made_from = f"{source} with other {' and '.join(differ)}"
    return ValueError(
        f"{folder} holds {name!r} made from {made_from}: "
        "use --force to replace it, or another name or output folder"
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a dataset's folder, and removes what a killed one left there.

    Raises:
        ValueError: If another process writes there.
    """
    with alone_in(folder, f"another process prepares {folder}"):
        yield


@contextmanager
def reading(manifest: Path) -> Iterator[None]:
    """Names the manifest in what a block raises that reads it.

    Raises:
        ValueError: If the block finds something else than ``prepare`` writes.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{manifest} is not a manifest that prepare wrote: {said}; {_again(manifest.parent)}"
        ) from error


def record_of(kind: type[_Record], stored: dict) -> _Record:
    """Returns a record that was stored as JSON.

    Args:
        kind: Its dataclass.
        stored: Its fields.

    Raises:
        TypeError: If a field is missing or unknown.
        ValueError: If a value is of another type than the field.
    """
    hints = get_type_hints(kind)
    for key, value in stored.items():
        if key in hints and not _is_of(value, hints[key]):
            raise ValueError(f"{key} is {value!r:.80}")
    return kind(**stored)


def _is_of(value, hint) -> bool:
    """Returns whether a value is of a type such as ``dict[str, list[int]]``."""
    kind, of = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(_is_of(value, each) for each in of)
    if kind is list:
        return isinstance(value, list) and all(_is_of(each, of[0]) for each in value)
    if kind is dict:
        return isinstance(value, dict) and all(
            _is_of(key, of[0]) and _is_of(each, of[1]) for key, each in value.items()
        )
    return isinstance(value, hint) and isinstance(value, bool) == (hint is bool)


def described_files(manifest: dict) -> dict[str, dict]:
    """Returns the description of each file of a manifest, without what is no part of one.

    Raises:
        ValueError: If the manifest describes its files in another way.
    """
    files = {Path(name).name: entry for name, entry in manifest["files"].items()}
    for name, entry in files.items():
        if not isinstance(entry["bytes"], int) or not isinstance(entry["sha256"], str):
            raise ValueError(f"it describes {name} as {entry!r}")
    return files


def require_unchanged(folder: Path, files: dict[str, dict]) -> None:
    """Compares the files of a folder with their descriptions, byte for byte.

    Raises:
        ValueError: If a file is missing or has changed since it was prepared; the message names it.
    """
    for file, expected in files.items():
        target = folder / file
        if not target.is_file():
            raise ValueError(f"{target} is missing; {_again(folder)}")
        if (size := target.stat().st_size) != expected["bytes"]:
            found = f"{size:,} bytes, expected {expected['bytes']:,}"
        elif (digest := sha256_of(target)) != expected["sha256"]:
            found = f"SHA-256 {digest}, expected {expected['sha256']}"
        else:
            continue
        raise ValueError(
            f"{target} has changed since it was prepared: {found}; {_again(folder)} (change the "
            "source instead, and give what you changed another NAME)"
        )


def _again(folder: Path) -> str:
    """Returns, for the end of a message, the command that prepares a dataset's folder again."""
    output = "" if folder.parent == Path("dataset") else f" --output={folder.parent}"
    return f"prepare it again: recbole-hill prepare {folder.name} --source=PATH --force{output}"


def require_as_prepared(folder: Path, name: str, *, with_cold_users: bool = False) -> None:
    """Compares a dataset's files with its manifest, byte for byte, if it has a manifest.

    Args:
        folder: The dataset's folder.
        name: The dataset's name.
        with_cold_users: Whether the test file must have its users without a train item.

    Raises:
        ValueError: If the manifest lists no files, or a file of its is missing or has changed; the
            message names the file.
    """
    path = folder / f"{name}.manifest.json"
    if not path.is_file():
        return
    with reading(path):
        manifest = read_json(path)
        left_out = [] if manifest.get("cold_test_kept") else manifest.get("cold_test_users", [])
        left_out = [*left_out]
        files = described_files(manifest)
    require_unchanged(folder, files)
    if with_cold_users and left_out:
        raise ValueError(
            f"cold_test_users rank: an older version prepared {folder} without its "
            f"{len(left_out):,} test users that have no train item; {_again(folder)}"
        )
