"""A study's folder: the ledger of its cells, the folders of their runs, and claims on cells."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from recbole_hill.run.files import make_folder, open_to_write
from recbole_hill.run.ledger import RUNS


def run_dir(study: str | Path, cell_id: str) -> Path:
    """Returns the folder of a cell's run."""
    return Path(study) / RUNS / cell_id


def floor_file(study: str | Path) -> Path:
    """Returns the file that keeps the floor of a study's data, which its cells share."""
    return Path(study) / "floor.jsonl"


@contextlib.contextmanager
def claim(study: str | Path, cell_id: str, patience: float = 0.0) -> Iterator[int | None]:
    """Holds a cell, so that no other runner takes it.

    Args:
        study: The study's folder.
        cell_id: The cell.
        patience: Seconds to wait for another process that holds the cell.

    Yields:
        The lock's file descriptor, which a child process may inherit to hold the cell as long as
        the child lives; None if another process holds the cell.
    """
    path = run_dir(study, cell_id).with_suffix(".lock")
    Path(study).mkdir(parents=True, exist_ok=True)
    make_folder(path.parent)
    with open_to_write(path, "a") as file:
        end = time.monotonic() + patience
        while not lock_descriptor(file.fileno(), blocking=False):
            if time.monotonic() >= end:
                yield None
                return
            time.sleep(0.1)
        yield file.fileno()
