"""A study's progress: a live line on a terminal, a line per finished cell elsewhere."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from recbole_hill.config.units import duration
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.run.ledger import FAILED
from recbole_hill.run.text import printable


class Progress:
    """Counts done, running and failed cells, and says how long the rest will take.

    Args:
        cells: All cells of the call.
        done: Number of cells that earlier calls finished.
        seconds: Expected seconds by cell id.
        jobs: Cells that run side by side.
        shown: Whether anything is shown.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        done: int,
        seconds: dict[str, float],
        jobs: int,
        *,
        shown: bool = True,
    ):
        self._seconds, self._jobs, self._shown = seconds, jobs, shown
        self._left = {cell.id: cell for cell in cells}
        self._running: dict[str, float] = {}
        self._failed = 0
        self._bar = tqdm(
            total=len(cells) + done,
            initial=done,
            disable=not (shown and sys.stderr.isatty()),
            bar_format="{n_fmt}/{total_fmt} cells |{bar:20}| {postfix}",
        )
        self._show()

    def start(self, cell: Cell) -> None:
        """A cell begins."""
        self._running[cell.id] = time.monotonic()
        self._show()

    def finish(self, cell: Cell, record: dict) -> None:
        """A cell is done or has failed."""
        self._forget(cell)
        self._left.pop(cell.id, None)
        failed = record["status"] == FAILED
        self._failed += failed
        self._bar.update(1)
        result = f"failed: {record['error']}" if failed else _first_metrics(record)
        self.say(f"{cell}: {result} ({duration(record['seconds'])})")
        self._show()

    def stop(self, cell: Cell) -> None:
        """A cell was stopped and will go on another time."""
        self._forget(cell)

    def say(self, line: str) -> None:
        """Prints a line above the live one, on standard error."""
        if self._shown:
            tqdm.write(printable(line), file=sys.stderr)

    def close(self) -> None:
        """Ends the live line."""
        self._bar.close()

    def left(self) -> float:
        """Returns the expected seconds until the last cell is done."""
        now = time.monotonic()
        work = sum(self._seconds.get(cell, 0.0) for cell in self._left)
        spent = sum(min(now - at, self._seconds.get(c, 0.0)) for c, at in self._running.items())
        return max(work - spent, 0.0) / self._jobs

    def _forget(self, cell: Cell) -> None:
        self._running.pop(cell.id, None)

    def _show(self) -> None:
        names = ", ".join(str(self._left[c]) for c in self._running if c in self._left)
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.set_postfix_str(
            f"about {duration(self.left())} left{failed}; running: {names or '-'}"
        )


def _first_metrics(record: dict) -> str:
    row = record["rows"][-1]
    wanted = [name for name in ("recall@20", "ndcg@20", "ne") if name in row["metrics"]]
    shown = wanted or list(row["metrics"])[:2]
    return ", ".join(f"{name} {row['metrics'][name]:.4f}" for name in shown)
