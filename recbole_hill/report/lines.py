"""Comparable rows as one line of a table, and the notes that the lines of a table share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from recbole_hill.report.document import Line, Number
from recbole_hill.report.seeds import require_comparable, sampled_notes
from recbole_hill.run.folder import CHOICE, HOLDOUT
from recbole_hill.run.rows import candidates
from recbole_hill.run.stages import seconds_of_stages

#: The columns on a line's cost, behind the metrics.
COST = ("training, s", "epochs", "commit")


def line_of(
    rows: list[dict],
    metrics: Sequence[str],
    *,
    name: str,
    arm: str = "",
    extra_cells: tuple[str, ...] = (),
    published: Sequence[float] | None = None,
    source: str = "",
    note: int | None = None,
) -> Line:
    """Returns several seeds' rows as one line.

    Args:
        rows: Rows of one arm that differ in their seed alone.
        metrics: The metrics to show.
        name: See :class:`Line`.
        arm: See :class:`Line`.
        extra_cells: See :class:`Line`.
        published: A published number per metric.
        source: See :class:`Line`.
        note: See :class:`Line`.

    Raises:
        ValueError: If the rows must not be averaged, or one lacks a metric; the error names the
            line.
    """
    try:
        require_comparable(rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    for metric in metrics:
        if any(metric not in row["metrics"] for row in rows):
            known = ", ".join(rows[0]["metrics"])
            raise ValueError(f"{name}: there is no metric {metric!r}; the rows have {known}")
    if published and len(published) != len(metrics):
        raise ValueError(
            f"{name}: {len(published)} published numbers for the metrics {', '.join(metrics)}"
        )
    printed = published or [None] * len(metrics)
    numbers = tuple(
        Number(tuple(row["metrics"][metric] for row in rows), published=number)
        for metric, number in zip(metrics, printed, strict=True)
    )
    return Line(name, numbers, arm, extra_cells, note, source if published else "", made(rows))


def made(rows: list[dict]) -> dict:
    """Returns how the numbers of one line were made; seconds and memory are means over seeds."""
    first = rows[0]
    return {
        **{key: first[key] for key in ("model", "dataset", "data_sha256", "protocol")},
        "own": bool(first["settings"].get("backbone")),  # HILL, or a model derived from it
        "test_selected": first["test_selected"],
        "candidates": candidates(first),
        "split_seed": first["split_seed"],
        "seeds": [row["seed"] for row in rows],
        "commit": first["commit"],
        "versions": first["versions"],
        "device": "; ".join(sorted({row["device"] for row in rows})),
        "seconds": round(sum(map(training_seconds, rows)) / len(rows), 2),
        "peak_memory_mib": round(sum(row["peak_memory_mib"] for row in rows) / len(rows)),
        "command": first.get("command", ""),
    }


def training_seconds(row: dict) -> float:
    """Returns the seconds of training to a row's arm, runs that it started from included.

    Under ``refit``, choosing counts as training. The arm ``backbone`` takes its own stage, any
    other arm all stages but the ones that fine-tuned other arms. ``HILL`` takes the stages of
    ``pairs``.
    """
    arm = row["arm"]
    own = f"adapt_{'pairs' if arm == CHOICE else arm}"
    stages = {
        name: stage
        for name, stage in row["stages"].items()
        if (name in (HOLDOUT, "backbone") or arm != "backbone")
        and (name == own or not name.startswith("adapt_"))
    }
    return seconds_of_stages(stages, with_starts=True)


def cost(rows: list[dict]) -> tuple[str, ...]:
    """Returns the mean seconds of training, the epochs and the commit of comparable rows."""
    seconds = sum(map(training_seconds, rows)) / len(rows)
    epochs = {row["stages"].get("backbone", {}).get("epochs") for row in rows} - {None}
    return f"{seconds:,.0f}", ", ".join(map(str, sorted(epochs))), str(rows[0]["commit"])


class Footnotes:
    """Numbers the footnotes of a table in the order in which its lines refer to them.

    Args:
        texts: The footnotes' texts by name, as the table's file has them.
    """

    def __init__(self, texts: Mapping[str, str]):
        self._texts = texts
        self._called: list[str] = []

    def marked(self, line: Line, definition: Mapping) -> Line:
        """Returns the line with the number of the footnote that its row's ``note`` names.

        Args:
            line: The line.
            definition: The row's entry in the table's file.
        """
        if "note" not in definition:
            return line
        text = self._texts[definition["note"]]
        if text not in self._called:
            self._called.append(text)
        return replace(line, note=self._called.index(text) + 1)

    @property
    def notes(self) -> list[str]:
        """The footnotes that lines referred to so far."""
        return [f"[{number}] {text}" for number, text in enumerate(self._called, start=1)]


def versions(row: dict) -> str:
    """Returns a row's versions in one string."""
    return ", ".join(f"{name} {version}" for name, version in row["versions"].items())


def provenance_notes(rows: list[dict]) -> list[str]:
    """Returns notes on the data, protocol, seeds and versions of a table's rows."""
    first = rows[0]
    seeds = sorted({row["seed"] for row in rows})
    devices = sorted({row["device"] for row in rows})
    protocols = sorted({(row["protocol"], row["test_selected"]) for row in rows})
    named = " and ".join(
        f"`{protocol}`{' (**test-selected**)' if test_selected else ''}"
        for protocol, test_selected in protocols
    )
    return [
        f"{first['dataset']} (data {first['data_sha256'][:12]}), protocol {named}, "
        f"seeds {', '.join(map(str, seeds))}, split seed {first['split_seed']}",
        *sampled_notes(rows),
        *(f"{'; '.join(devices)}; {each}" for each in sorted({versions(row) for row in rows})),
    ]


def floor_notes(rows: Sequence[dict], metrics: Sequence[str]) -> list[str]:
    """Returns the floor of a table's data as a note; rows of one study have one floor.

    A method that is a row of the table itself is left out.

    Args:
        rows: The table's rows.
        metrics: The table's metrics.
    """
    models, notes = {row["model"] for row in rows}, []
    for row in rows:
        methods = [
            f"{name} " + ", ".join(f"{metric} {reached[metric]:.4f}" for metric in metrics)
            for name, reached in row.get("floor", {}).items()
            if name not in models and reached.keys() >= set(metrics)
        ]
        notes += [f"Floor, with no training: {'; '.join(methods)}."] if methods else []
    return list(dict.fromkeys(notes))


def difference_notes(lines: Sequence[Line]) -> list[str]:
    """Returns notes on the differences in how the lines of one table were made."""
    measured = [line for line in lines if line.made]
    keys = ("protocol", "candidates", "commit", "device")
    kinds = {key: [line.made[key] for line in measured] for key in keys}
    for package in dict.fromkeys(name for line in measured for name in line.made["versions"]):
        kinds[package] = [line.made["versions"].get(package, "unknown") for line in measured]
    notes = []
    for key, values in kinds.items():
        groups: dict[str, list[str]] = {}
        for line, value in zip(measured, values, strict=True):
            names = groups.setdefault(str(value), [])
            names += [line.name] if line.name not in names else []
        if len(groups) > 1:
            # The largest group goes without its names: they would be most of the table.
            most = max(groups, key=lambda value: len(groups[value]))
            named = [f"{value} ({', '.join(n)})" for value, n in groups.items() if value != most]
            notes.append(f"**Rows differ in {key}**: {'; '.join([*named, f'{most} (the others)'])}")
    return notes
