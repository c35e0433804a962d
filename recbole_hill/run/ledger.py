"""What a study has finished: one line per cell, appended, and never lost to a kill."""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from recbole_hill.run.jsonl import append_record, read_records

STUDY = "study.json"
CELLS = "cells.jsonl"
RUNS = "runs"
DONE, FAILED = "done", "failed"


class Ledger:
    """The finished cells of a study, in ``cells.jsonl``.

    An entry holds ``cell`` (its id), ``row``, ``seed``, ``given`` (settings over the table's own),
    ``status`` (done or failed), ``seconds``, ``run_dir`` and either ``rows`` (as the run left them)
    or ``error``. Several runners may share a study's folder: lines are appended under a lock, and
    each cell is claimed before it runs.

    Args:
        folder: The study's folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.file = self.folder / CELLS

    def entries(self) -> dict[str, dict]:
        """Returns the last entry of each cell."""
        return read_records(self.file, "cell")

    def append(self, entry: dict) -> None:
        """Adds an entry."""
        append_record(self.file, entry)

    def run_dir(self, cell_id: str) -> Path:
        """Returns the folder of a cell's run."""
        return self.folder / RUNS / cell_id

    @contextlib.contextmanager
    def claim(self, cell_id: str, patience: float = 0.0) -> Iterator[int | None]:
        """Holds a cell, so that no other runner takes it.

        Args:
            cell_id: The cell.
            patience: Seconds to wait for another process that holds it.

        Yields:
            The lock's file descriptor, which a child process may inherit to hold the cell as long
            as it lives; None if another process holds the cell.
        """
        path = self.folder / RUNS / f"{cell_id}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as file:
            end = time.monotonic() + patience
            while not _locked(file):
                if time.monotonic() >= end:
                    yield None
                    return
                time.sleep(0.1)
            yield file.fileno()


def _locked(file) -> bool:
    """Takes a file's lock if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
