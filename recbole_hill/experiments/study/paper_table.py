"""A paper's table as a list of runs: what ``properties/table/<N>.yaml`` says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from recbole_hill import registry
from recbole_hill.checks import one_of
from recbole_hill.config.properties import properties, read_properties
from recbole_hill.run.parent_runs import STARTS, as_list

KINDS = ("comparison", "variants", "serving", "datasets")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: As the table prints it.
        model: A registered model.
        layers: Settings by dataset, those of every dataset under the key ``None``; later ones win.
        own_backbone: Whether it trains its backbone itself where the table shares one.
        starts_from: Settings that name the runs of other rows, with those rows' names.
    """

    name: str
    model: str
    layers: tuple[dict[str | None, dict], ...] = ()
    own_backbone: bool = False
    starts_from: dict[str, str | list[str]] = field(default_factory=dict)

    @property
    def starts(self) -> list[str]:
        """Names of the rows whose runs it starts from."""
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
        title: What it is of, and in which paper.
        kind: comparison (models), variants (settings of one model), serving (what a request costs
            and how well it predicts) or datasets (nothing to train).
        rows: In the paper's order.
        backbone: What all rows start from once it is trained, or None.
        backbone_per_seed: Whether each seed trains its own; otherwise the first seed's is shared.
    """

    number: str
    title: str
    kind: str
    rows: tuple[Row, ...]
    backbone: Row | None = None
    backbone_per_seed: bool = False

    @classmethod
    def read(cls, number: str) -> "PaperTable":
        """Reads ``properties/table/<number>.yaml``.

        Raises:
            ValueError: If there is no such table, naming those there are; or the file has a key,
                kind or model that is none.
        """
        file = f"properties/table/{number}.yaml"
        facts = read_properties("table", f"{number}.yaml")
        if not facts:
            raise ValueError(f"table must be one of {', '.join(numbers())}, got {number!r}")
        kind = one_of(f"{file}: kind", facts.get("kind"), KINDS)
        shared = _layer(file, "the table", facts)
        model = facts.get("model")
        named = {**(facts.get("rows") or {}), **(facts.get("beyond") or {})}
        rows: list[Row] = []
        for name, row in {} if kind == "datasets" else named.items():
            rows.append(_row(file, name, row, model, shared))
            before = [other.name for other in rows[:-1]]
            if unknown := set(rows[-1].starts) - set(before):
                raise ValueError(
                    f"{file}, row {name!r}: starts_from must name rows above it, "
                    f"{', '.join(before)}; got {', '.join(sorted(unknown))}"
                )
        backbone = facts.get("backbone")
        return cls(
            number=str(number),
            title=facts["title"],
            kind=kind,
            rows=tuple(rows),
            backbone=_row(file, "backbone", backbone, None, {}) if backbone else None,
            backbone_per_seed=bool((backbone or {}).get("per_seed")),
        )

    def chosen(self, names: Sequence[str] | None) -> tuple[Row, ...]:
        """Returns the rows of these names and those that they start from; all of them for None.

        In a comparison any registered model may be added by its name.

        Raises:
            ValueError: Naming what is neither a row nor, in a comparison, a model.
        """
        if names is None:
            return self.rows
        rows = {row.name.lower(): row for row in self.rows}
        found = {}
        for name in names:
            if row := rows.get(name.lower()):
                found[row.name] = row
                continue
            if self.kind != "comparison":
                raise ValueError(
                    f"--models must be among the rows of table {self.number}: "
                    f"{', '.join(row.name for row in self.rows)}; got {name!r}"
                )
            entry = registry.find(name)  # an error names the near ones
            found[entry.name] = rows.get(entry.name.lower()) or Row(entry.name, entry.name)
        return tuple({r.name: r for row in found.values() for r in self._with_starts(row)}.values())

    def _with_starts(self, row: Row) -> list[Row]:
        """Returns the rows that a row starts from, theirs first, and the row."""
        before = [other for other in self.rows if other.name in row.starts]
        return [each for other in before for each in self._with_starts(other)] + [row]


def numbers() -> list[str]:
    """Returns the numbers of the tables that can be run."""
    files = (file.name for file in properties("table").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _row(file: str, name: str, facts: dict | None, model: str | None, shared: dict) -> Row:
    """Reads a row; what it says beside how it is run are datasets' published numbers."""
    facts = facts or {}
    model = facts.get("model", model) or name
    try:
        model = registry.find(model).name
    except ValueError as error:
        raise ValueError(f"{file}, row {name!r}: {error}") from error
    layers = (shared, _layer(file, repr(name), facts))
    starts_from = facts.get("starts_from") or {}
    if unknown := set(starts_from) - set(STARTS):
        raise ValueError(
            f"{file}, row {name!r}: starts_from is for {', '.join(STARTS)}; "
            f"got {', '.join(sorted(unknown))}"
        )
    return Row(name, model, layers, bool(facts.get("own_backbone")), starts_from)


def _layer(file: str, whose: str, facts: dict) -> dict[str | None, dict]:
    """Reads ``settings`` and ``per_dataset``, which table, rows and backbone may have."""
    layer = {None: facts.get("settings") or {}, **(facts.get("per_dataset") or {})}
    for dataset, values in layer.items():
        if not isinstance(values, dict):
            where = "settings" if dataset is None else f"per_dataset {dataset}"
            raise ValueError(f"{file}: {where} of {whose} must be key: value, got {values!r}")
    return layer
