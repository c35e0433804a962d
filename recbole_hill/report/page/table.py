"""A table in HTML; a press on a column's head sorts the table by it."""

from collections.abc import Iterable

from recbole_hill.report.document import (
    Line,
    Number,
    Table,
    difference_text,
    is_better,
    published_text,
    spans,
)
from recbole_hill.report.page.html import html, joined

_SPANS = {"text": "{}", "code": "<code>{}</code>", "stress": "<strong>{}</strong>"}


def html_table(table: Table) -> str:
    """Returns the table, ours, published and difference side by side under each metric."""
    body = []
    previous = None
    for line in table.lines:
        body.append(_row(table, line, previous))
        previous = line.name
    return html(
        '<div class="scroll"><table class="results"><thead>{}</thead><tbody>{}</tbody>'
        "</table></div>",
        _head(table),
        joined(body),
    )


def html_notes(notes: Iterable[str]) -> str:
    """Returns a table's notes as a list."""
    listed = (joined(html(_SPANS[kind], text) for kind, text in spans(note)) for note in notes)
    return html('<ul class="notes">{}</ul>', joined(html("<li>{}</li>", note) for note in listed))


def _head(table: Table) -> str:
    names = [table.head, *(["arm"] if table.has_arms else [])]
    columns = [(name, "ascending", "word") for name in names]
    groups = []
    for metric in table.metrics:
        first = "descending" if is_better(metric, 1, 0) else "ascending"
        if table.has_published:
            groups.append(html('<th class="group" colspan="3">{}</th>', metric))
            columns += [("ours", first, ""), ("published", first, ""), ("diff.", "descending", "")]
        else:
            columns.append((metric, first, ""))
    columns += [(name, "ascending", "") for name in table.extra_columns]
    above = ""
    if groups:
        above = html(
            '<tr><th colspan="{}"></th>{}<th colspan="{}"></th></tr>',
            len(names),
            joined(groups),
            len(table.extra_columns),
        )
    heads = joined(
        html(
            '<th scope="col" class="{}" data-column="{}" data-first="{}"><button '
            'type="button">{}</button></th>',
            kind,
            number,
            first,
            name,
        )
        for number, (name, first, kind) in enumerate(columns)
    )
    return html("{}<tr>{}</tr>", above, heads)


def _row(table: Table, line: Line, previous: str | None) -> str:
    kinds = [kind_of(table, line)]
    if table.has_arms:
        kinds.append("again" if line.name == previous else "first")
    note = html(" <sup>{}</sup>", line.note) if line.note else ""
    name, *arm = table.names(line)
    cells = [html('<td class="word" data-key="{}">{}{}</td>', name, name, note)]
    cells += [html('<td class="word" data-key="{}">{}</td>', each, each) for each in arm]
    per_metric = 3 if table.has_published else 1
    if not line.made:
        span = per_metric * len(table.metrics)
        cells.append(html('<td class="failed" colspan="{}">{}</td>', span, str(line.numbers[0])))
    else:
        for number in line.numbers:
            cells += _number(table, number, line.source)
    cells += [html('<td data-key="{}">{}</td>', _key(cell), cell) for cell in line.extra_cells]
    return html('<tr class="{}">{}</tr>', " ".join(filter(None, kinds)), joined(cells))


def kind_of(table: Table, line: Line) -> str:
    """Returns ``reference`` for the reference line, ``own`` for HILL's line, else an empty text."""
    if line.label == table.reference:
        return "reference"
    return "own" if line.made.get("own") and not line.arm else ""


def _number(table: Table, number: Number | str, source: str) -> Iterable[str]:
    if isinstance(number, str):
        yield html("<td>{}</td>", number) + html("<td></td><td></td>") * table.has_published
        return
    kind = {1: "first-best", 2: "second-best"}.get(number.rank, "")
    value, _, deviation = number.text.partition(" ± ")
    # An absent deviation or mark keeps its room, so that the means stand below each other.
    spread = mark = ""
    if table.has_deviations:
        absent = "" if deviation else " absent"
        spread = html(' <span class="spread{}">± {}</span>', absent, deviation or value)
    if table.has_marks:
        mark = html('<span class="mark">{}</span>', number.mark)
    tip = "" if number.t_p is None else html(' title="{}"', _tested(number))
    yield (
        html(
            '<td class="{}" data-key="{!r}"{}><span class="value">{}</span>{}{}</td>',
            kind,
            number.mean,
            tip,
            value,
            mark,
            spread,
        )
    )
    if not table.has_published:
        return
    if number.published is None:
        yield html("<td></td><td></td>")
        return
    tip = html(' title="published by {}"', source) if source else ""
    starred = "*" if source else ""
    difference = difference_text(number.difference)
    yield (
        html(
            '<td class="quiet" data-key="{!r}"{}>{}{}</td>'
            '<td class="quiet" data-key="{!r}">{}</td>',
            number.published,
            tip,
            published_text(number.published),
            starred,
            number.difference,
            difference.replace("-", "−"),
        )
    )


def _key(cell: str) -> str:
    """Returns the key that sorts a cell: its number, if it begins with one."""
    first = cell.split(" ")[0].replace(",", "").removesuffix("%")
    try:
        return repr(float(first))
    except ValueError:
        return "" if cell == "–" else cell


def _tested(number: Number) -> str:
    """Returns the results of a number's tests, which the pointer shows."""
    text = f"adjusted p {number.t_p:.3g}"
    if number.users:
        low, high = number.users.interval
        difference = number.users.mean_difference
        text += f", difference {difference:+.4f} [{low:+.4f}, {high:+.4f}] over users"
    if number.seeds:
        text += f", p {number.seeds.t_p:.3g} over {number.seeds.n} seeds"
    return text
