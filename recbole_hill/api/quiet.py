"""What a library does not do to the program that calls it.

It does not write on its terminal, keep its log, or advise it in the words of the command line.
"""

import logging
import re
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


#: A command line's option with its value.
_OPTION = re.compile(r"--(\w+)=([^\s:;,)\]]+)")


def in_python(text: str) -> str:
    """Returns a message in which options are arguments: ``--tune=30m`` is ``tune="30m"``."""
    return _OPTION.sub(lambda found: f"{found[1]}={_argument(found[2])}", text)


def _argument(value: str) -> str:
    return value if value.isdigit() else f'"{value}"'


def shown_path(path: str | Path) -> str:
    """Returns a path as a reader knows it: from the working folder, or from ``~``."""
    path = Path(path)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    if path.is_relative_to(Path.home()):
        return str("~" / path.relative_to(Path.home()))
    return str(path)
