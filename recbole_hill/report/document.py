"""A report's table as data; Markdown, LaTeX, CSV and HTML render it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING

from recbole_hill.run.rows import is_sampled

if TYPE_CHECKING:
    from recbole_hill.report.significance import PairedTest

#: Metrics of which a smaller value is better.
LESS_IS_BETTER = ("ne", "logloss", "rmse", "mae", "averagepopularity", "giniindex")
#: Significance marks, each for p values below its key.
MARKS = {0.01: "‡", 0.05: "†"}


@dataclass(frozen=True)
class Number:
    """One metric of one line, over its seeds.

    Attributes:
        values: The metric, one per seed.
        digits: Decimals shown.
        rank: 1 for the best number of its column as shown, 2 for the second; else None.
        published: The number that a paper printed.
        t_p: p value of the paired t test against the reference line, adjusted; None if not tested.
        wilcoxon_p: p value of Wilcoxon's test, adjusted; None if not tested.
        users: The paired test over users that gave the two p values, with its bootstrap interval.
        seeds: The paired test over the seeds' means; None for fewer than two common seeds.
    """

    values: tuple[float, ...]
    digits: int = 4
    rank: int | None = None
    published: float | None = None
    t_p: float | None = None
    wilcoxon_p: float | None = None
    users: PairedTest | None = None
    seeds: PairedTest | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return mean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def difference(self) -> float | None:
        """The relative difference to the published number; None if none was published."""
        return self.mean / self.published - 1 if self.published else None

    @property
    def mark(self) -> str:
        """The mark of a p value below .01 or .05; empty for a larger one, and if not tested."""
        if self.t_p is None:
            return ""
        return next((mark for level, mark in MARKS.items() if self.t_p < level), "")

    @property
    def text(self) -> str:
        """Mean and standard deviation; for one seed, its value."""
        shown = f"{self.mean:.{self.digits}f}"
        return shown if self.deviation is None else f"{shown} ± {self.deviation:.{self.digits}f}"


@dataclass(frozen=True)
class Line:
    """One line of a table: a model, or one arm of its run.

    Attributes:
        name: The model, or the row's settings.
        numbers: One per metric of the table; a plain string where there is no number.
        arm: The arm of the model's run; empty for the model itself.
        extra_cells: Plain strings, one per extra column of the table.
        note: Number of a footnote.
        source: Who published the numbers, if not the table's own paper.
        made: How the numbers were made: protocol, data, commit, versions, seconds ...
    """

    name: str
    numbers: tuple[Number | str, ...]
    arm: str = ""
    extra_cells: tuple[str, ...] = ()
    note: int | None = None
    source: str = ""
    made: Mapping = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Model and arm in one string; no two lines of a table have the same."""
        return f"{self.name}: {self.arm}" if self.arm else self.name

    @property
    def published(self) -> tuple[float, ...]:
        """The published numbers in the order of the metrics; empty if none were published."""
        return tuple(n.published for n in self._measured() if n.published is not None)

    @property
    def differences(self) -> tuple[float, ...]:
        """The relative differences to the published numbers."""
        return tuple(n.difference for n in self._measured() if n.difference is not None)

    def _measured(self) -> list[Number]:
        return [number for number in self.numbers if isinstance(number, Number)]


@dataclass(frozen=True)
class Table:
    """A table, free of any format.

    Attributes:
        title: Its subject.
        head: The kind of the lines' names: ``model`` or ``settings``.
        metrics: Names of the columns of numbers.
        lines: The lines, in order.
        extra_columns: Names of the columns of plain strings behind the numbers.
        notes: The notes under the table. `Code` and **stress** are marked as in Markdown.
        reference: Label of the line that the significance marks compare with; empty without marks.
    """

    title: str
    head: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    extra_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reference: str = ""

    @property
    def has_arms(self) -> bool:
        """Whether arms have a column of their own; among models, the names carry the arms."""
        return self.head == "settings" and any(line.arm for line in self.lines)

    @property
    def columns(self) -> list[str]:
        """The heads of all columns."""
        return [
            self.head,
            *(["arm"] if self.has_arms else []),
            *self.metrics,
            *(["published", "difference"] if self.has_published else []),
            *self.extra_columns,
        ]

    @property
    def has_marks(self) -> bool:
        """Whether any number was tested against the reference."""
        return bool(self.reference)

    def names(self, line: Line) -> list[str]:
        """Returns the cells before a line's numbers: name, and arm if arms have a column.

        A name ends with the mode of a sampled evaluation, such as ``uni100``.
        """
        mode = line.made.get("candidates", "full")
        sampled = f" ({mode})" if is_sampled(mode) else ""
        if self.has_arms:
            return [line.name + sampled, line.arm or line.made.get("model", "")]
        return [line.label + sampled]

    @property
    def has_published(self) -> bool:
        """Whether any line has a published number."""
        return any(line.published for line in self.lines)

    @property
    def has_deviations(self) -> bool:
        """Whether any line was run with more than one seed."""
        numbers = (number for line in self.lines for number in line.numbers)
        return any(isinstance(n, Number) and len(n.values) > 1 for n in numbers)


def is_better(metric: str, first: float, second: float) -> bool:
    """Returns whether the first value of a metric is better than the second."""
    less = metric.lower().partition("_")[0].partition("@")[0] in LESS_IS_BETTER
    return first < second if less else first > second


def ranked(table: Table) -> Table:
    """Returns the table with the best and the second number of every column ranked.

    Means that are equal as shown share a rank. Beside lines of full ranking, a line of sampled
    evaluation has no rank: its numbers are too high.
    """
    sampled = [is_sampled(line.made.get("candidates", "full")) for line in table.lines]
    out = sampled if not all(sampled) else [False] * len(sampled)
    columns = [
        _ranked_column(metric, [line.numbers[column] for line in table.lines], out)
        for column, metric in enumerate(table.metrics)
    ]
    lines = [
        replace(line, numbers=numbers)
        for line, numbers in zip(table.lines, zip(*columns, strict=True), strict=True)
    ]
    return replace(table, lines=tuple(lines))


def _ranked_column(metric: str, cells: list[Number | str], out: list[bool]) -> list[Number | str]:
    shown = [
        round(cell.mean, cell.digits) if isinstance(cell, Number) and not leave else None
        for cell, leave in zip(cells, out, strict=True)
    ]
    distinct = set(shown) - {None}
    ahead = {v: sum(is_better(metric, other, v) for other in distinct) for v in distinct}
    return [
        replace(cell, rank=ahead[value] + 1 if ahead[value] < 2 else None)
        if isinstance(cell, Number) and value is not None
        else cell
        for cell, value in zip(cells, shown, strict=True)
    ]


def cells_of(
    table: Table,
    line: Line,
    escape: Callable[[str], str],
    number: Callable[[Number | str], str],
) -> list[str]:
    """Returns a line's cells, one per column of the table, in a format.

    Args:
        table: The table.
        line: A line of it.
        escape: Makes plain text safe in the format.
        number: Writes a number in the format.
    """
    name, *arm = table.names(line)
    cells = [escape(name) + (f" [{line.note}]" if line.note else ""), *map(escape, arm)]
    cells += map(number, line.numbers)
    if table.has_published:
        printed = "/".join(map(published_text, line.published)) or "–"
        source = f" ({line.source})" if line.source and line.published else ""
        cells += [escape(printed + source), " / ".join(map(difference_text, line.differences))]
    return [*cells, *map(escape, line.extra_cells)]


def published_text(value: float) -> str:
    """Returns a published number as papers print it: four decimals, no leading zero."""
    return f"{value:.4f}".removeprefix("0")


def difference_text(value: float) -> str:
    """Returns a relative difference in per cent, signed, to a tenth."""
    return f"{round(value, 3) + 0.0:+.1%}"  # + 0.0: no "-0.0%"


def inline(
    text: str,
    escape: Callable[[str], str],
    code: Callable[[str], str],
    stress: Callable[[str], str],
) -> str:
    """Returns a note in another format.

    Args:
        text: A note with `code` and **stress**.
        escape: Makes plain text safe in the format.
        code: Sets escaped text as code.
        stress: Sets escaped text in bold.
    """
    set_as = {"text": str, "code": code, "stress": stress}
    return "".join(set_as[kind](escape(part)) for kind, part in spans(text))


def spans(text: str) -> Iterator[tuple[str, str]]:
    """Yields the parts of a note with their kinds: ``text``, ``code`` or ``stress``."""
    for part in re.split(r"(`[^`]+`|\*\*[^*]+\*\*)", text):
        if re.fullmatch(r"`[^`]+`", part):
            yield "code", part[1:-1]
        elif re.fullmatch(r"\*\*[^*]+\*\*", part):
            yield "stress", part[2:-2]
        elif part:
            yield "text", part
