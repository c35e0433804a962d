"""Rows of many models as one Markdown table beside the numbers that a paper printed."""

import re

from recbole_hill.config.properties import read_properties
from recbole_hill.report.document import Table, is_better
from recbole_hill.report.lines import COST, Footnotes, cost, line_of, provenance_notes
from recbole_hill.report.markdown import markdown
from recbole_hill.report.seeds import require_one_experiment

#: Fields that all rows of a table must share; else their numbers do not compare.
_SHARED = ("dataset", "data_sha256", "protocol", "split_seed")


def comparison_table(rows: list[dict], table: str) -> str:
    """Returns one line per model, best first, beside its published numbers and the differences.

    Args:
        rows: Rows of runs of several models on one dataset under one protocol. The seeds of a model
            are averaged if nothing else differs.
        table: Number of the paper's table, a file of ``properties/table``.

    Raises:
        ValueError: If there is no such table, or rows differ in something that they must share.
    """
    published = definition_of(table)
    require_one_experiment(rows, _SHARED)
    groups: dict[str, list[dict]] = {}
    for row in rows:
        own = row["arm"] == row["model"]
        groups.setdefault(row["model"] if own else f"{row['model']}: {row['arm']}", []).append(row)
    dataset, metrics = rows[0]["dataset"], published["metrics"]
    everything = {**published["rows"], **published.get("beyond", {})}
    printed = any(dataset in definition for definition in everything.values())
    footnotes = Footnotes(published.get("notes", {}))
    lines = [
        line_of(
            group,
            metrics,
            name=name,
            extra_cells=cost(group),
            published=everything.get(name, {}).get(dataset),
            source=everything.get(name, {}).get("source", ""),
        )
        for name, group in groups.items()
    ]
    lines.sort(key=lambda line: line.numbers[-1].mean, reverse=is_better(metrics[-1], 1, 0))
    if printed:
        lines = [footnotes.marked(line, everything.get(line.name, {})) for line in lines]
    notes = [*provenance_notes(rows), *footnotes.notes]
    missing = [name for name in published["rows"] if name not in groups]
    if missing:
        notes.append(f"Rows of Table {table} that are not here: {', '.join(missing)}.")
    return markdown(Table(table, "model", tuple(metrics), tuple(lines), COST, tuple(notes)))


def definition_of(table: str) -> dict:
    """Reads a table's file of ``properties/table``.

    Raises:
        ValueError: If there is no such file.
    """
    named = re.fullmatch(r"[\w-]+", table)  # a name from a file leads to no other folder
    definition = read_properties("table", f"{table}.yaml") if named else None
    if not definition:
        raise ValueError(f"table must be the number of a file in properties/table, got {table!r}")
    return definition
