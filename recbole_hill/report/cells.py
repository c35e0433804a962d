"""A study's folder: which of its cells go into its table, and which were made otherwise."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.report.comparison import definition_of
from recbole_hill.report.seeds import identity
from recbole_hill.run.jsonl import read_records
from recbole_hill.run.ledger import CELLS, DONE, STUDY


@dataclass(frozen=True)
class Study:
    """Cells of a table, done and failed.

    Attributes:
        folder: Where they are.
        about: ``study.json``: table, dataset, protocol, seeds, rows, cells, command.
        definition: The table's file of ``properties/table``.
        cells: That of every row and seed: row, seed, status, rows, error, run_dir.
        aside: Cells that were made otherwise than their row's last one, and are in no table.
    """

    folder: Path
    about: dict
    definition: dict
    cells: tuple[dict, ...]
    aside: tuple[dict, ...] = ()

    @property
    def kind(self) -> str:
        """``comparison`` of models, ``variants`` of one, or ``serving``."""
        return self.definition.get("kind", "comparison")

    @property
    def facts(self) -> dict[str, dict]:
        """What the table's file says of each row, those beyond the paper's last."""
        rows = {**self.definition["rows"], **self.definition.get("beyond", {})}
        return {name: facts or {} for name, facts in rows.items()}

    @property
    def order(self) -> list[str]:
        """The rows that were run, in the paper's order, then any that it does not have."""
        ran = dict.fromkeys(cell["row"] for cell in self.cells)
        return [name for name in self.facts if name in ran] + [
            name for name in ran if name not in self.facts
        ]

    @property
    def done(self) -> list[dict]:
        """The cells with rows."""
        return [cell for cell in self.cells if cell["status"] == DONE]

    @property
    def failed(self) -> list[dict]:
        """The cells with an error."""
        return [cell for cell in self.cells if cell["status"] != DONE]


def read_study(folder: str | Path) -> Study:
    """Reads a study's folder.

    Raises:
        FileNotFoundError: If it holds no study.
        ValueError: If its description is not JSON, or there is no such table.
    """
    folder = Path(folder)
    about = folder / STUDY
    if not about.is_file():
        raise FileNotFoundError(f"{folder} is not a study's folder: it has no {STUDY}")
    described = _parsed(about.read_text(), f"{about}")
    entries = read_records(folder / CELLS, "cell").values()
    definition = definition_of(str(described["table"]))
    kept, aside = _of_one_making(_called_for(described, entries))
    return Study(folder, described, definition, tuple(kept), tuple(aside))


def _called_for(about: dict, entries: Iterable[dict]) -> list[dict]:
    """Returns the cells that the study's last command for their row and seed was about.

    With other settings it is another cell of the same row and seed. Where ``study.json`` does not
    say which, the last one counts.
    """
    found: dict[tuple, dict] = {}
    for cell in entries:
        named = about.get("cells", {}).get(cell["row"], {}).get(str(cell["seed"]))
        if named in (None, cell["cell"]):
            key = cell["row"], cell["seed"]
            found.pop(key, None)  # so that it stands where the last of them does
            found[key] = cell
    return list(found.values())


def _of_one_making(cells: list[dict]) -> tuple[list[dict], list[dict]]:
    """Returns the cells that may be averaged with the last one of their row, and the others.

    A study that goes on after its code, its libraries or its settings have changed holds both.
    """
    last = {cell["row"]: identity(cell["rows"][0]) for cell in cells if cell["status"] == DONE}
    kept, aside = [], []
    for cell in cells:
        alike = cell["status"] != DONE or identity(cell["rows"][0]) == last[cell["row"]]
        (kept if alike else aside).append(cell)
    return kept, aside


def _parsed(text: str, where: str) -> dict:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error
