"""Writes files so that a crash or a full disk never costs the file that was there before.

A folder may come from somebody else: nothing here writes through a symbolic link that lies in it,
or follows a name out of it.
"""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

#: The lock of a folder in which one process at a time works.
LOCK = ".lock"
#: Names that :func:`atomic_path` gives; a kill leaves such a file behind.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Hands out a temporary path beside ``path`` and renames it into place on success.

    The block writes to the path it is given. If it raises (disk full, killed by the user), the
    temporary file is removed and the old ``path`` is left as it was.

    Args:
        path: The finished file. Its folder is created if needed.

    Yields:
        The temporary path to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _umask() -> int:
    """Returns the process's umask; the system only tells it when it is set."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def open_to_write(path: Path, mode: str) -> IO:
    """Opens a file to write to; text is UTF-8.

    Args:
        path: The file.
        mode: As for :func:`open`.

    Raises:
        ValueError: If the file is a symbolic link.
    """
    refuse_link(path)
    encoding = None if "b" in mode else "utf-8"
    try:
        return open(path, mode, encoding=encoding, opener=_without_following)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # it became a link just now
            raise _link(path) from error
        raise


def refuse_link(path: Path) -> None:
    """Refuses to write to a symbolic link.

    Raises:
        ValueError: If the path is one; the message names it.
    """
    if path.is_symlink():
        raise _link(path)


def make_folder(folder: Path) -> None:
    """Creates a folder within a run's or a study's folder, which may be there already.

    Raises:
        ValueError: If the folder is a symbolic link.
    """
    refuse_link(folder)
    folder.mkdir(exist_ok=True)


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)  # Windows has no such flag


def _link(path: Path) -> ValueError:
    return ValueError(f"{path} is a symbolic link, and no file is written through one; remove it")


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Holds a lock while the block runs.

    Args:
        path: The lock's file; its folder exists.
        busy: The error if another process holds the lock; None waits for it.

    Raises:
        ValueError: If another process holds the lock, or the file is a symbolic link.
    """
    refuse_link(path)
    try:
        lock = FileLock(path).acquire(blocking=busy is None)
    except Timeout as error:
        raise ValueError(busy) from error
    with lock:
        yield


@contextmanager
def alone_in(folder: Path, busy: str) -> Iterator[None]:
    """Keeps every other process out of a folder while the block runs.

    Temporary files that a killed process left there are removed.

    Args:
        folder: The folder; it is created if needed.
        busy: The error if another process works in the folder.

    Raises:
        ValueError: If another process works in the folder, or its lock is a symbolic link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, busy=busy):
        remove_leftovers(folder)
        yield


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of processes that were killed; the caller holds the lock."""
    for file in folder.iterdir():
        if _TEMPORARY.fullmatch(file.name) and not file.is_dir():
            file.unlink(missing_ok=True)


def path_inside(folder: Path, name: str) -> Path:
    """Returns the path of a file or folder that a file of ``folder`` names.

    Args:
        folder: The folder.
        name: A path from there.

    Raises:
        ValueError: If the path leads out of the folder, by itself or through a symbolic link.
    """
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a null character
        inside = False
    if not inside:
        raise ValueError(
            f"{name!r}, which {folder} names, leads out of that folder; it is not read"
        )
    return path


def sha256_of(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
