"""A study's folder: the cells of its table, and the cells that were made differently."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.report.comparison import definition_of
from recbole_hill.report.seeds import identity
from recbole_hill.run.files import path_inside
from recbole_hill.run.ledger import DONE, STUDY, ledger_of
from recbole_hill.run.own_files import read_json


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
        left_out: Which lines of ``cells.jsonl`` are no whole or no unchanged records, in words.
    """

    folder: Path
    about: dict
    definition: dict
    cells: tuple[dict, ...]
    aside: tuple[dict, ...] = ()
    left_out: tuple[str, ...] = ()

    def run_of(self, cell: dict) -> Path | None:
        """Returns the folder of a cell's run; None if it names none.

        Raises:
            ValueError: If the folder that the cell names lies outside the study's folder.
        """
        named = cell.get("run_dir")
        return path_inside(self.folder, named) if named else None

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
        ValueError: If ``study.json`` is not a study's description, or there is no such table.
    """
    folder = Path(folder)
    described = read_description(folder)
    ledger = ledger_of(folder)
    read = ledger.read()
    read.warn()
    left_out = (read.left_out,) if read.faults else ()
    return study_of(folder, described, ledger.last(read.kept).values(), left_out)


def study_of(
    folder: Path, described: dict, records: Iterable[dict], left_out: tuple[str, ...] = ()
) -> Study:
    """Returns a study that is described as ``study.json`` describes one, of these cells' records.

    Raises:
        ValueError: If there is no such table.
    """
    definition = described.get("definition") or definition_of(described["table"])
    kept, aside = _alike(_called_for(described, records))
    return Study(folder, described, definition, tuple(kept), tuple(aside), left_out)


def read_description(folder: str | Path) -> dict:
    """Reads ``study.json``.

    Raises:
        FileNotFoundError: If the folder holds no study.
        ValueError: If the file is not a study's description; the error names the key.
    """
    file = Path(folder) / STUDY
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a study's folder: it has no {STUDY}")
    about = read_json(file)
    cells = about.get("cells", {})
    for key, fits, kind in (
        ("table", isinstance(about.get("table"), str), "a text"),
        ("dataset", isinstance(about.get("dataset"), str), "a text"),
        ("protocol", isinstance(about.get("protocol"), str), "a text"),
        ("command", isinstance(about.get("command", ""), str), "a text"),
        ("seeds", _is_list_of(about.get("seeds"), int), "a list of whole numbers"),
        ("rows", _is_list_of(about.get("rows", []), str), "a list of texts"),
        ("definition", isinstance(about.get("definition", {}), dict), "an object"),
        ("cells", isinstance(cells, dict) and _is_list_of([*cells.values()], dict), "an object"),
    ):
        if not fits:
            raise ValueError(f"{file}: {key} must be {kind}, got {about.get(key)!r}")
    return about


def _is_list_of(value, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


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
