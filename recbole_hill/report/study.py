"""The cells of a study as a table to report."""

from collections.abc import Iterable
from dataclasses import replace

from recbole_hill.config.dialect import written_setting
from recbole_hill.report.cells import Study
from recbole_hill.report.document import Line, Table, ranked
from recbole_hill.report.lines import (
    COST,
    Footnotes,
    cost,
    difference_notes,
    floor_notes,
    line_of,
    provenance_notes,
)
from recbole_hill.report.marks import tested
from recbole_hill.report.seeds import differences, identity, require_one_experiment, spread
from recbole_hill.report.serving import REQUEST_COST, request_cost
from recbole_hill.run.ledger import STUDY

#: Fields that all rows of a study must share; the notes name other differences.
_SHARED = ("dataset", "data_sha256", "split_seed")
#: What the columns of the cost are.
_OF_COST = (
    "training, s: of all epochs; epochs: until the best validation, whose weights are kept",
)
#: Characters of an error that the table shows; the notes have its whole first line.
_ERROR_WIDTH = 48


def study_table(study: Study, reference: str | None = None) -> Table:
    """Returns a study's table: seeds averaged, best and second ranked, significance marked.

    Args:
        study: The study.
        reference: The row that all others are tested against, or the arm that the other arms of
            each row are tested against, such as ``continue``. The default of a comparison is NESCL
            or else the best baseline, of variants ``continue`` or else the first row, of serving
            the first row.

    Raises:
        ValueError: If a row's seeds must not be averaged, rows are of different data, or the
            reference is not in the table.
    """
    rows = [row for cell in study.done for row in cell["rows"]]
    if rows:
        require_one_experiment(rows, _SHARED)
        if rows[0]["dataset"] != study.about["dataset"]:
            raise ValueError(
                f"{study.folder / STUDY} says dataset {study.about['dataset']}, the rows of its "
                f"cells are of {rows[0]['dataset']}"
            )
    elif not study.failed:
        raise ValueError(f"{study.folder} has no finished cell yet: there is nothing to report")
    footnotes = Footnotes(study.definition.get("notes", {}))
    metrics = tuple(study.definition["metrics"])
    extra_columns = _extra_columns(study, rows)
    definitions = study.row_definitions
    lines = [
        footnotes.marked(line, definitions.get(name, {})) if _has_footnote(study, line) else line
        for name in study.order
        for line in _lines(study, name, metrics, extra_columns)
    ]
    table = Table(
        title=study.definition.get("title", f"Table {study.about['table']}"),
        head="settings" if study.kind == "variants" else "model",
        metrics=metrics,
        lines=tuple(lines),
        extra_columns=extra_columns,
    )
    table, tests = tested(table, study, reference)
    notes = [
        *(provenance_notes(rows) if rows else ()),
        *floor_notes(rows, metrics),
        *(["mean ± sample standard deviation over seeds"] if table.has_deviations else ()),
        *tests,
        *_given(study),
        *difference_notes(lines),
        *(_OF_COST if COST[0] in extra_columns else ()),
        *footnotes.notes,
        *_failures(study),
        *_set_aside(study),
        *(f"**Left out**: {each}." for each in study.left_out),
        *_missing(study),
    ]
    return ranked(replace(table, notes=tuple(notes)))


def _lines(
    study: Study, name: str, metrics: tuple[str, ...], extra_columns: tuple[str, ...]
) -> Iterable[Line]:
    """Yields a row's own line, then the lines of its other arms, as far as the table shows them."""
    rows = [row for cell in study.done if cell["row"] == name for row in cell["rows"]]
    if not rows:
        errors = [_first_line(cell) for cell in study.failed if cell["row"] == name]
        cells = (_shortened(f"failed: {errors[0]}"), *["–"] * (len(metrics) - 1))
        yield Line(name, cells, extra_cells=("–",) * len(extra_columns))
        return
    chosen = study.definition.get("arms")
    arms = dict.fromkeys(row["arm"] for row in rows)
    own = [arm for arm in arms if arm == rows[0]["model"]]
    for arm in [*own, *(arm for arm in arms if arm not in own)]:
        if chosen is not None and arm not in (*own, *chosen):
            continue
        group = [row for row in rows if row["arm"] == arm]
        definition = study.row_definitions.get(name, {}) if arm in own else {}
        yield line_of(
            group,
            metrics,
            name=name,
            arm="" if arm in own else arm,
            extra_cells=_extra_cells(study, group, extra_columns, definition),
            published=definition.get(study.about["dataset"]),
            source=definition.get("source", ""),
        )


def _has_footnote(study: Study, line: Line) -> bool:
    """Returns whether a row's footnote concerns the line; a model's is on its published numbers."""
    return bool(line.published) if study.kind == "comparison" else not line.arm


def _extra_columns(study: Study, rows: list[dict]) -> tuple[str, ...]:
    names = [_against_first(study)] if study.kind == "serving" and rows else []
    if any("paper" in definition for definition in study.row_definitions.values()):
        names.append("paper")
    if study.kind == "comparison":
        return (*names, *COST)
    if any(row.get("retrieval") or row.get("serving") for row in rows):
        names.append("index recall@20")
    if any(row.get("retrieval") for row in rows):
        names.append("scored")
    if any(row.get("serving") for row in rows):
        names += REQUEST_COST
    return (*names, COST[0])


def _against_first(study: Study) -> str:
    """Returns the name of the column with a row's error relative to the first row's error."""
    return f"{study.definition['metrics'][0]} against {study.order[0]}"


def _extra_cells(
    study: Study, rows: list[dict], columns: tuple[str, ...], definition: dict
) -> tuple[str, ...]:
    """Returns a line's cells beside its metrics; a dash where its model has no such value."""
    searched = [row["retrieval"] for row in rows if row.get("retrieval")]
    served = [row["serving"] for row in rows if row.get("serving")]
    cells = dict(zip(COST, cost(rows), strict=True))
    cells["paper"] = str(definition.get("paper", "–"))
    if searched or served:
        cells["index recall@20"] = f"{_mean(searched or served, 'index_recall@20'):.4f}"
    if searched:
        cells["scored"] = f"{_mean(searched, 'scored_fraction'):.2%}"
    if served:
        cells |= request_cost(served)
    if (gains := _gains(study, rows)) and _against_first(study) in columns:
        cells[_against_first(study)] = f"{spread(gains, 2)} %"
    return tuple(cells.get(name, "–") for name in columns)


def _gains(study: Study, rows: list[dict]) -> list[float]:
    """Returns, per seed and in per cent, how much the first metric differs from the first row's."""
    first = study.order[0]
    of_first = {cell["seed"]: cell["rows"][0] for cell in study.done if cell["row"] == first}
    if rows[0] is of_first.get(rows[0]["seed"]):
        return []
    return differences(rows, of_first, study.definition["metrics"][0])


def _mean(costs: list[dict], key: str) -> float:
    return sum(cost[key] for cost in costs) / len(costs)


def _first_line(cell: dict) -> str:
    return (str(cell.get("error") or "no error was kept").strip().splitlines() or [""])[0]


def _shortened(text: str) -> str:
    return text if len(text) <= _ERROR_WIDTH else text[: _ERROR_WIDTH - 1].rstrip() + "…"


def _failures(study: Study) -> list[str]:
    return [
        f"{cell['row']}, seed {cell['seed']}, failed: {_first_line(cell)}" for cell in study.failed
    ]


def _given(study: Study) -> list[str]:
    """Returns the settings that commands gave over the table's own, and the rows that got them."""
    rows: dict[str, list[str]] = {}
    for cell in study.done:
        given = ", ".join(
            f"`{k}={written_setting(k, v)}`" for k, v in cell.get("given", {}).items()
        )
        named = rows.setdefault(given, [])
        named += [cell["row"]] if cell["row"] not in named else []
    return [
        f"Not the table's own: {given}, in {'every row' if len(rows) == 1 else '; '.join(names)}."
        for given, names in rows.items()
        if given
    ]


def _set_aside(study: Study) -> list[str]:
    """Returns, per row, the seeds that were made differently, and the difference."""
    notes = []
    for name in dict.fromkeys(cell["row"] for cell in study.aside):
        last = identity(next(c for c in study.done if c["row"] == name)["rows"][0])
        seeds = [cell["seed"] for cell in study.aside if cell["row"] == name]
        others = [identity(cell["rows"][0]) for cell in study.aside if cell["row"] == name]
        keys = {k for other in others for k in {**last, **other} if other.get(k) != last.get(k)}
        of_seeds = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        notes.append(
            f"**Left out**: {name}, {of_seeds}, made with another {', '.join(sorted(keys))} than "
            "the row's last, and never averaged with it."
        )
    return notes


def _missing(study: Study) -> list[str]:
    """Returns the cells that the study was asked for and lacks, whole rows first."""
    ran = {(cell["row"], cell["seed"]) for cell in (*study.cells, *study.aside)}
    seeds = study.about["seeds"]
    absent: dict[tuple[int, ...], list[str]] = {}
    for name in study.about.get("rows", study.order):
        lacking = tuple(seed for seed in seeds if (name, seed) not in ran)
        absent.setdefault(lacking, []).append(name)
    absent.pop((), None)
    return [
        f"Not run yet{_of_seeds(lacking, seeds)}: {'; '.join(rows)}."
        for lacking, rows in sorted(absent.items(), key=lambda group: -len(group[0]))
    ]


def _of_seeds(lacking: tuple[int, ...], seeds: list[int]) -> str:
    if len(lacking) == len(seeds):
        return ""
    return f" with seed{'s' if len(lacking) > 1 else ''} {', '.join(map(str, lacking))}"
