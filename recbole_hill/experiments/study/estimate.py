"""How long cells will take and how much memory they need, judged by past runs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from recbole_hill.config.units import duration
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.run.jsonl import read_lines
from recbole_hill.run.ledger import RUNS
from recbole_hill.run.rows import row_fault
from recbole_hill.run.stages import seconds_of_stages

#: Train interactions, by which times on one dataset are scaled to another.
INTERACTIONS = {
    "ml-100k": 80_000,
    "ml-1m": 800_000,
    "gowalla": 810_128,
    "yelp2018": 1_237_259,
    "amazon-book": 2_380_730,
}
#: The estimate of a run unlike all past ones; RecBole and PyTorch alone take half of the memory.
UNKNOWN_SECONDS, UNKNOWN_MEMORY_MIB = 600.0, 2048
#: A cell declares the largest peak of the runs like it, times this factor.
MEMORY_MARGIN = 1.2


@dataclass(frozen=True)
class Estimate:
    """The time and the memory that a cell is expected to take.

    Attributes:
        seconds: Wall-clock seconds, training and test together.
        memory_mib: The peak memory that the cell declares.
        basis: Which past runs the two come from, in words.
    """

    seconds: float
    memory_mib: int
    basis: str


class History:
    """Past rows by model and dataset.

    Args:
        rows: Rows of finished runs; one arm of a run is enough.
    """

    def __init__(self, rows: Iterable[dict]):
        runs: dict[tuple, list[dict]] = {}
        for row in rows:  # the arms of one run share all settings, its folder among them
            made = (row["model"], row["dataset"], row["commit"], row["seed"])
            runs.setdefault((*made, json.dumps(row["settings"], sort_keys=True)), []).append(row)
        self._runs: dict[tuple[str, str], list[tuple[float, int, dict]]] = {}
        for (model, dataset, *_), arms in runs.items():
            seconds = seconds_of_stages(arms[0]["stages"])
            seconds += sum(row.get("test_seconds", 0) for row in arms)
            memory = max(row["peak_memory_mib"] for row in arms)
            settings = {**arms[0]["settings"], "protocol": arms[0]["protocol"]}
            self._runs.setdefault((model, dataset), []).append((seconds, memory, settings))

    def estimate(self, cell: Cell) -> Estimate:
        """Estimates a cell by the runs that are most like it.

        Runs with its settings come first, then runs of its model on its dataset, then runs of its
        model elsewhere, and last all runs on its dataset.
        """
        past = self._runs.get((cell.model, cell.dataset), [])
        wanted = {**cell.settings, "protocol": cell.protocol}
        alike = [run for run in past if _agree(run[2], wanted)]
        if alike:
            return _of(alike, 1.0, f"{_runs(alike)} with these settings")
        if past:
            return _of(past, 1.0, f"{_runs(past)} with other settings")
        elsewhere = [
            (dataset, runs)
            for (model, dataset), runs in self._runs.items()
            if model == cell.model and dataset in INTERACTIONS
        ]
        if elsewhere and cell.dataset in INTERACTIONS:
            dataset, runs = elsewhere[0]
            scale = INTERACTIONS[cell.dataset] / INTERACTIONS[dataset]
            return _of(runs, scale, f"{dataset}, times {scale:.3g} for its size")
        others = [run for (_, on), runs in self._runs.items() for run in runs if on == cell.dataset]
        if others:
            return _of(others, 1.0, f"guess: median of all on {cell.dataset}")
        return Estimate(UNKNOWN_SECONDS, UNKNOWN_MEMORY_MIB, "guess: nothing like it has run")

    def says(self, cell: Cell) -> str:
        """Returns what the runs of the cell's model on its dataset took, as a line."""
        if (cell.model, cell.dataset) not in self._runs:
            return f"expected time: no past run of {cell.model} on {cell.dataset}"
        found = self.estimate(cell)
        return f"expected time: {duration(found.seconds)} ({found.basis})"


def past_rows(folders: Sequence[str | Path]) -> list[dict]:
    """Reads the rows under folders: from files of rows, and from studies' finished cells.

    Args:
        folders: Folders, searched with their subfolders; a folder that does not exist has no rows.
    """
    rows = []
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.jsonl")):
            if RUNS not in file.parts:  # a study's runs are in its cells.jsonl already
                read = read_lines(file, _fault)
                read.warn()
                for record in read.kept:
                    rows += [row for row in _rows_of(record) if row.keys() >= _KEYS]
    return rows


#: What an estimate needs of a row.
_KEYS = {"model", "dataset", "commit", "seed", "settings", "stages", "protocol", "peak_memory_mib"}


def _rows_of(record: dict) -> list:
    """Returns the rows in a record of any of our files: of a cell, the row itself, or another's."""
    return record.get("rows") or [] if "cell" in record else [record]


def _fault(record: dict) -> str | None:
    """Returns what is wrong with the rows in a record, or None; other records have no rows."""
    rows = _rows_of(record)
    if not isinstance(rows, list):
        return f"rows must be a list, got {rows!r}"
    return next(filter(None, (row_fault(row, required=()) for row in rows)), None)


def _runs(runs: list) -> str:
    return f"{len(runs)} run{'s' * (len(runs) > 1)}"


def _agree(settings: dict, wanted: dict) -> bool:
    return all(settings.get(key) == value for key, value in wanted.items())


def _of(runs: list[tuple[float, int, dict]], scale: float, basis: str) -> Estimate:
    seconds = median(seconds for seconds, _, _ in runs) * scale
    # Memory grows less than the data: the libraries take half of a small run's memory.
    memory = max(memory for _, memory, _ in runs) * max(1.0, scale**0.5) * MEMORY_MARGIN
    return Estimate(seconds, round(memory), basis)
