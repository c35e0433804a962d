"""How long cells will take and how much memory they need, from what past runs took."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from recbole_hill.experiments.study.plan import Cell
from recbole_hill.run.ledger import RUNS

#: Train interactions, for scaling what was measured on another dataset.
INTERACTIONS = {
    "ml-100k": 80_000,
    "ml-1m": 800_000,
    "gowalla": 810_128,
    "yelp2018": 1_237_259,
    "amazon-book": 2_380_730,
}
#: Of a run that nothing is known about: RecBole and PyTorch alone take half of it.
UNKNOWN_SECONDS, UNKNOWN_MEMORY_MIB = 600.0, 2048
#: A cell declares this much more than the largest like it has taken.
MEMORY_MARGIN = 1.2


@dataclass(frozen=True)
class Estimate:
    """What a cell is expected to take.

    Attributes:
        seconds: Wall-clock seconds, training and test together.
        memory_mib: What it declares as its peak memory.
        basis: Where the two come from, in words.
    """

    seconds: float
    memory_mib: int
    basis: str


class History:
    """Past rows by model and dataset.

    Args:
        rows: Rows of finished runs, one arm of a run being enough.
    """

    def __init__(self, rows: Iterable[dict]):
        runs: dict[tuple, list[dict]] = {}
        for row in rows:  # the arms of a run have all their settings in common, its folder too
            made = (row["model"], row["dataset"], row["commit"], row["seed"])
            runs.setdefault((*made, json.dumps(row["settings"], sort_keys=True)), []).append(row)
        self._taken: dict[tuple[str, str], list[tuple[float, int, dict]]] = {}
        for (model, dataset, *_), arms in runs.items():
            seconds = sum(stage.get("seconds", 0) for stage in arms[0]["stages"].values())
            seconds += sum(row.get("test_seconds", 0) for row in arms)
            memory = max(row["peak_memory_mib"] for row in arms)
            taken = self._taken.setdefault((model, dataset), [])
            taken.append(
                (seconds, memory, {**arms[0]["settings"], "protocol": arms[0]["protocol"]})
            )

    def estimate(self, cell: Cell) -> Estimate:
        """Returns what runs like the cell took; the same settings count before the same model."""
        past = self._taken.get((cell.model, cell.dataset), [])
        wanted = {**cell.settings, "protocol": cell.protocol}
        alike = [taken for taken in past if _agree(taken[2], wanted)]
        if alike:
            return _of(alike, 1.0, f"{len(alike)} such run{'s' * (len(alike) > 1)}")
        if past:
            return _of(past, 1.0, f"{len(past)} with other settings")
        elsewhere = [
            (dataset, taken)
            for (model, dataset), taken in self._taken.items()
            if model == cell.model and dataset in INTERACTIONS
        ]
        if elsewhere and cell.dataset in INTERACTIONS:
            dataset, taken = elsewhere[0]
            scale = INTERACTIONS[cell.dataset] / INTERACTIONS[dataset]
            return _of(taken, scale, f"{dataset}, times {scale:.3g} for its size")
        others = [
            t for (_, dataset), past in self._taken.items() for t in past if dataset == cell.dataset
        ]
        if others:
            return _of(others, 1.0, f"guess: median of all on {cell.dataset}")
        return Estimate(UNKNOWN_SECONDS, UNKNOWN_MEMORY_MIB, "guess: nothing like it has run")


def past_rows(folders: Sequence[str | Path]) -> list[dict]:
    """Reads the rows under these folders: files of rows, and studies' finished cells.

    Args:
        folders: Folders, searched to the bottom; one that does not exist holds nothing.
    """
    rows = []
    for folder in folders:
        for file in sorted(Path(folder).rglob("*.jsonl")):
            if RUNS not in file.parts:  # a study's runs are in its cells.jsonl already
                for line in file.read_text().splitlines():
                    rows += _rows_of(line)
    return rows


def _rows_of(line: str) -> list[dict]:
    """Returns the rows in a line of any of our files: an entry of a study, a row, or neither."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:  # cut off by a kill
        return []
    if not isinstance(found, dict):
        return []
    rows = found.get("rows") or [] if "cell" in found else [found]
    return [row for row in rows if {"model", "stages", "settings", "commit"} <= set(row)]


def _agree(settings: dict, wanted: dict) -> bool:
    return all(settings.get(key) == value for key, value in wanted.items())


def _of(taken: list[tuple[float, int, dict]], scale: float, basis: str) -> Estimate:
    seconds = median(seconds for seconds, _, _ in taken) * scale
    # Memory grows less than the data: half of a small run's is the libraries'.
    memory = max(memory for _, memory, _ in taken) * max(1.0, scale**0.5) * MEMORY_MARGIN
    return Estimate(seconds, round(memory), basis)
