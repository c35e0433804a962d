"""What a library does not do to the program that calls it: write on its terminal, keep its log."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_hill.commands.options import hush_libraries
from recbole_hill.host.waiting import wait_passively


@contextmanager
def quietly() -> Iterator[None]:
    """Leaves out, within the block, warnings of libraries that are not the user's to mend.

    A run logs through the root logger. After the block the program's own handlers are there again.
    """
    wait_passively()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []  # a run's log closes the handlers that it replaces
    try:
        with warnings.catch_warnings():
            hush_libraries()
            yield
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def shown_path(path: str | Path) -> str:
    """Returns a path as a reader knows it: from the working folder, or from ``~``."""
    path = Path(path)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    if path.is_relative_to(Path.home()):
        return str("~" / path.relative_to(Path.home()))
    return str(path)
