"""A paper's table as a list of runs, as ``properties/table/<N>.yaml`` describes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from recbole_hill import registry
from recbole_hill.checks import one_of
from recbole_hill.config.properties import properties, read_properties
from recbole_hill.run.parent_runs import PARENT_SETTINGS, as_list

KINDS = ("comparison", "variants", "serving", "datasets")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: As the table prints it.
        model: A registered model.
        layers: Settings by dataset; settings for every dataset have the key ``None``. Later layers
            win.
        own_backbone: Whether the row trains its own backbone although the table shares one.
        starts_from: Settings that name the runs of other rows, with the names of these rows.
    """

    name: str
    model: str
    layers: tuple[dict[str | None, dict], ...] = ()
    own_backbone: bool = False
    starts_from: dict[str, str | list[str]] = field(default_factory=dict)

    @property
    def starts(self) -> list[str]:
        """Names of the rows that this row starts from."""
        return [name for named in self.starts_from.values() for name in as_list(named)]

    def settings_on(self, dataset: str) -> dict:
        """Returns the settings on a dataset."""
        settings = {}
        for layer in self.layers:
            settings |= layer.get(None, {}) | layer.get(dataset, {})
        return settings


@dataclass(frozen=True)
class PaperTable:
    """A table to run.

    Attributes:
        number: Its number, the file's name.
        title: Its subject and its paper.
        kind: comparison (models), variants (settings of one model), serving (cost of a request and
            quality of the prediction) or datasets (nothing to train).
        rows: In the paper's order.
        backbone: The row that all others start from, or None.
        backbone_per_seed: Whether each seed trains a backbone; otherwise all share the first
            seed's.
        definition: What reports read of a table that has no file in ``properties/table``.
    """

    number: str
    title: str
    kind: str
    rows: tuple[Row, ...]
    backbone: Row | None = None
    backbone_per_seed: bool = False
    definition: dict | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the table reports."""
        definition = self.definition or read_properties("table", f"{self.number}.yaml")
        return tuple(definition["metrics"])

    @property
    def stem(self) -> str:
        """The beginning of the name of the table's studies."""
        return self.number if self.definition else f"table{self.number}"

    @classmethod
    def read(cls, number: str) -> "PaperTable":
        """Reads ``properties/table/<number>.yaml``.

        Raises:
            ValueError: If there is no such table, or the file has an unknown kind or model, or
                settings that are no mapping. The error names what is accepted.
        """
        file = f"properties/table/{number}.yaml"
        definition = read_properties("table", f"{number}.yaml")
        if not definition:
            raise ValueError(f"table must be one of {', '.join(numbers())}, got {number!r}")
        kind = one_of(f"{file}: kind", definition.get("kind"), KINDS)
        shared = _layer(file, "the table", definition)
        model = definition.get("model")
        named = {**(definition.get("rows") or {}), **(definition.get("beyond") or {})}
        rows: list[Row] = []
        for name, row in {} if kind == "datasets" else named.items():
            rows.append(_row(file, name, row, model, shared))
            before = [other.name for other in rows[:-1]]
            if unknown := set(rows[-1].starts) - set(before):
                raise ValueError(
                    f"{file}, row {name!r}: starts_from must name rows above it, "
                    f"{', '.join(before)}; got {', '.join(sorted(unknown))}"
                )
        backbone = definition.get("backbone")
        return cls(
            number=str(number),
            title=definition["title"],
            kind=kind,
            rows=tuple(rows),
            backbone=_row(file, "backbone", backbone, None, {}) if backbone else None,
            backbone_per_seed=bool((backbone or {}).get("per_seed")),
        )

    def chosen(self, names: Sequence[str] | None) -> tuple[Row, ...]:
        """Returns the named rows and the rows that they start from; all rows for None.

        In a comparison any registered model may be added by its name.

        Raises:
            ValueError: If a name is neither a row's nor, in a comparison, a model's.
        """
        if names is None:
            return self.rows
        rows = {row.name.lower(): row for row in self.rows}
        chosen = {}
        for name in names:
            if row := rows.get(name.lower()):
                chosen[row.name] = row
                continue
            if self.kind != "comparison":
                raise ValueError(
                    f"--models must be among the rows of table {self.number}: "
                    f"{', '.join(row.name for row in self.rows)}; got {name!r}"
                )
            entry = registry.find(name)  # an error names the near ones
            chosen[entry.name] = rows.get(entry.name.lower()) or Row(entry.name, entry.name)
        named = {r.name: r for row in chosen.values() for r in self._with_starts(row)}
        return tuple(named.values())

    def _with_starts(self, row: Row) -> list[Row]:
        """Returns a row after the rows that it starts from, and these after their own."""
        before = [other for other in self.rows if other.name in row.starts]
        return [each for other in before for each in self._with_starts(other)] + [row]


def numbers() -> list[str]:
    """Returns the numbers of the tables that can be run."""
    files = (file.name for file in properties("table").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _row(file: str, name: str, given: dict | None, model: str | None, shared: dict) -> Row:
    """Reads a row; its other keys, such as a dataset's published numbers, are for reports."""
    given = given or {}
    model = given.get("model", model) or name
    try:
        model = registry.find(model).name
    except ValueError as error:
        raise ValueError(f"{file}, row {name!r}: {error}") from error
    layers = (shared, _layer(file, repr(name), given))
    starts_from = given.get("starts_from") or {}
    if unknown := set(starts_from) - set(PARENT_SETTINGS):
        raise ValueError(
            f"{file}, row {name!r}: starts_from is for {', '.join(PARENT_SETTINGS)}; "
            f"got {', '.join(sorted(unknown))}"
        )
    return Row(name, model, layers, bool(given.get("own_backbone")), starts_from)


def _layer(file: str, whose: str, given: dict) -> dict[str | None, dict]:
    """Reads ``settings`` and ``per_dataset`` of the table, a row or the backbone."""
    layer = {None: given.get("settings") or {}, **(given.get("per_dataset") or {})}
    for dataset, values in layer.items():
        if not isinstance(values, dict):
            where = "settings" if dataset is None else f"per_dataset {dataset}"
            raise ValueError(f"{file}: {where} of {whose} must be key: value, got {values!r}")
    return layer
