"""A study's folder: the cells of its table, and the cells that were made differently."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.report.comparison import definition_of
from recbole_hill.report.seeds import identity
from recbole_hill.run.ledger import CELLS, DONE, STUDY, Ledger


@dataclass(frozen=True)
class Study:
    """Cells of a table, done and failed.

    Attributes:
        folder: The study's folder.
        about: ``study.json``: table, dataset, protocol, seeds, rows, cells, command.
        definition: The table's file of ``properties/table``; of a comparison that a program made,
            ``study.json`` has it.
        cells: One record per row and seed: row, seed, status, rows, error, run_dir.
        aside: Cells that were made differently from their row's last cell; no table has them.
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
    def row_definitions(self) -> dict[str, dict]:
        """The entry of each row in the table's file: the paper's rows, then the others."""
        rows = {**self.definition["rows"], **self.definition.get("beyond", {})}
        return {name: definition or {} for name, definition in rows.items()}

    @property
    def order(self) -> list[str]:
        """The rows that were run: first the table's own in its order, then added models."""
        ran = dict.fromkeys(cell["row"] for cell in self.cells)
        own = [name for name in self.row_definitions if name in ran]
        return own + [name for name in ran if name not in own]

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
        ValueError: If ``study.json`` is not JSON, or there is no such table.
    """
    folder = Path(folder)
    about = folder / STUDY
    if not about.is_file():
        raise FileNotFoundError(f"{folder} is not a study's folder: it has no {STUDY}")
    described = _parsed(about.read_text(), f"{about}")
    return study_of(folder, described, Ledger(folder / CELLS, "cell").records().values())


def study_of(folder: Path, described: dict, records: Iterable[dict]) -> Study:
    """Returns a study that is described as ``study.json`` describes one, of these cells' records.

    Raises:
        ValueError: If there is no such table.
    """
    definition = described.get("definition") or definition_of(str(described["table"]))
    kept, aside = _alike(_called_for(described, records))
    return Study(folder, described, definition, tuple(kept), tuple(aside))


def _called_for(about: dict, records: Iterable[dict]) -> list[dict]:
    """Returns, for each row and seed, the cell that the study's last command called for.

    A row and seed has one cell per set of settings. Where ``study.json`` does not name the cell,
    the last one counts.
    """
    called: dict[tuple, dict] = {}
    for cell in records:
        named = about.get("cells", {}).get(cell["row"], {}).get(str(cell["seed"]))
        if named in (None, cell["cell"]):
            key = cell["row"], cell["seed"]
            called.pop(key, None)  # so that it stands where the last of them does
            called[key] = cell
    return list(called.values())


def _alike(cells: list[dict]) -> tuple[list[dict], list[dict]]:
    """Returns the cells that may be averaged with the last cell of their row, and the others.

    A study has others if it goes on after a change of its code, its libraries or its settings.
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
