"""Plans a study: one cell for each row and seed, named by everything that decides its result."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recbole_hill import plugins, registry
from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import read_properties
from recbole_hill.config.schema import check, schema_of
from recbole_hill.data.splits import require_files
from recbole_hill.experiments.study.paper_table import PaperTable, Row
from recbole_hill.run.jsonl import short_id
from recbole_hill.run.parent_runs import as_list, for_each

#: The name of the row that trains a table's shared backbone.
BACKBONE = "backbone"


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        row: The table's row.
        model: A registered model.
        dataset: The dataset.
        protocol: holdout, refit or published.
        seed: The seed.
        settings: The model's settings, as given on a command line.
        starts_from: Settings that name runs, such as ``backbone_from``, each with the id of a cell
            (or the folder of a run), or a list of them.
        given: The settings that the command gave over the table's own; ``settings`` has them too.
        plugins: Plugins to load before names are looked up.
        made_with: The plugins that the model and the settings name an entry of, with their SHA-256.
    """

    row: str
    model: str
    dataset: str
    protocol: str
    seed: int
    settings: dict = field(default_factory=dict)
    starts_from: dict[str, str | list[str]] = field(default_factory=dict)
    given: dict = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Twelve digits of the hash of all that decides the run; the row's name does not."""
        run = [self.model, self.dataset, self.protocol, self.seed, self.settings, self.starts_from]
        return short_id([*run, self.made_with] if self.made_with else run)

    @property
    def starts(self) -> set[str]:
        """The cells (or folders) that this cell starts from."""
        return {start for named in self.starts_from.values() for start in as_list(named)}

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """A table on one dataset under one protocol.

    Attributes:
        table: The paper's table.
        dataset: The dataset.
        protocol: The protocol.
        seeds: The seeds, in the order in which they run.
        folder: The folder of its cells, runs and reports.
        cells: The cells to run; a cell stands after the cells that it starts from.
    """

    table: PaperTable
    dataset: str
    protocol: str
    seeds: tuple[int, ...]
    folder: Path
    cells: tuple[Cell, ...]


def plan(
    table: PaperTable,
    dataset: str,
    *,
    root: str | Path = "studies",
    protocol: str = "holdout",
    seeds: Sequence[int] = (2020,),
    rows: Sequence[str] | None = None,
    settings: dict | None = None,
    backbone_from: str | None = None,
) -> Study:
    """Lays out a study.

    Args:
        table: The table.
        dataset: The dataset.
        root: Folder of all studies; this study is ``root/table<N>-<dataset>-<protocol>``.
        protocol: How numbers are made.
        seeds: Seeds of every row.
        rows: Names of rows, and in a comparison of other models; None: all rows.
        settings: Settings over the rows' own, in every cell.
        backbone_from: Folder of a finished run to use as the shared backbone.

    Raises:
        ValueError: If a row, protocol, seed or setting does not fit; the error names it.
    """
    check("protocol", protocol, schema_of("protocol"))
    check("dataset", dataset, schema_of("dataset"))
    seeds = tuple(dict.fromkeys(seeds))
    if not seeds or not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds must be whole numbers, got {seeds}")
    if backbone_from and not table.backbone:
        raise ValueError(f"--backbone-from: the rows of table {table.number} share no backbone")
    common = {"dataset": dataset, "protocol": protocol, "plugins": plugins.loaded()}
    given = dict(settings or {})
    shared: dict[int, Cell] = {}
    cells: list[Cell] = []
    for seed in seeds:
        of_row: dict[str, str] = {}
        for row in table.chosen(rows):
            cell = {
                **common,
                "seed": seed,
                "settings": {**row.settings_on(dataset), **given},
                "given": given,
            }
            cell["made_with"] = plugins.record({**cell["settings"], "model": row.model})
            starts_from = {
                setting: for_each(rows_above, of_row.__getitem__)
                for setting, rows_above in row.starts_from.items()
            }
            if table.backbone and not row.own_backbone:
                start = backbone_from
                if not start:
                    first = seed if table.backbone_per_seed else seeds[0]
                    if first not in shared:
                        shared[first] = _backbone(row.model, table.backbone, first, common, given)
                        cells.append(shared[first])
                    start = shared[first].id
                starts_from["backbone_from"] = start
            cells.append(Cell(row.name, row.model, **cell, starts_from=starts_from))
            of_row[row.name] = cells[-1].id
    _check(cells)
    folder = Path(root) / f"{table.stem}-{dataset}-{protocol}"
    return Study(table, dataset, protocol, seeds, folder, tuple(cells))


def require_data(study: Study) -> None:
    """Refuses a study of a dataset whose files are missing, before a cell runs.

    Raises:
        FileNotFoundError: Names the first missing file, and how to get it.
    """
    for cell in study.cells[:1]:
        require_files(HillConfig(cell.model, cell.dataset, None, cell.settings))


def require_metrics(study: Study) -> None:
    """Refuses settings under which a metric of the table is not measured, before a cell runs.

    Raises:
        ValueError: Names the setting, its value and what it must have.
    """
    for name, cell in {cell.row: cell for cell in study.cells}.items():
        if name == BACKBONE:
            continue  # no row of the table
        config = HillConfig(cell.model, cell.dataset, None, cell.settings)
        ranking = "ranking_metrics" if "ranking_metrics" in config else "metrics"
        measured = {name.lower() for name in config[ranking]}
        for metric in study.table.metrics:
            name, at, k = metric.partition("@")
            reported = f"{metric}, which table {study.table.number} reports"
            if at and name not in measured:
                raise ValueError(
                    f"{ranking} must have {name} for {reported}, got {config[ranking]}"
                )
            if at and int(k) not in config["topk"]:
                raise ValueError(f"topk must have {k} for {reported}, got {config['topk']}")


def _backbone(model: str, row: Row, seed: int, common: dict, given: dict) -> Cell:
    """Returns the cell that trains the shared backbone.

    Args:
        model: The model of the rows that start from it.
        row: The table's backbone. Settings that name another backbone train this one.
        seed: Its seed.
        common: What all cells of the study share.
        given: Settings over the rows' own. The backbone has all but those of ``model`` alone.
    """
    named = registry.find(given["backbone"]).name if "backbone" in given else row.model
    if named != row.model:
        row = Row(BACKBONE, named)
    of_model = read_properties("model", f"{model}.yaml")
    given = {key: value for key, value in given.items() if key not in of_model}
    settings = {**row.settings_on(common["dataset"]), **given}
    return Cell(BACKBONE, row.model, **common, seed=seed, settings=settings, given=given)


def _check(cells: Sequence[Cell]) -> None:
    """Reads every row's settings now: a misspelt key must not cost a night.

    Raises:
        ValueError: If a setting does not fit; the error names the row.
    """
    seen = set()
    for cell in cells:
        if cell.row in seen:
            continue
        seen.add(cell.row)
        try:
            HillConfig(cell.model, cell.dataset, None, {**cell.settings, "protocol": cell.protocol})
        except ValueError as error:
            raise ValueError(f"row {cell.row!r}: {error}") from error
