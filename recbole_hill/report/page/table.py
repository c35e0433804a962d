"""A table in HTML; a press on a column's head sorts the table by it."""

from collections.abc import Iterable
from html import escape

from recbole_hill.report.document import (
    Line,
    Number,
    Table,
    difference_text,
    inline,
    is_better,
    published_text,
)


def html_table(table: Table) -> str:
    """Returns the table, ours, published and difference side by side under each metric."""
    body = []
    previous = None
    for line in table.lines:
        body.append(_row(table, line, previous))
        previous = line.name
    return (
        f'<div class="scroll"><table class="results"><thead>{_head(table)}</thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def html_notes(notes: Iterable[str]) -> str:
    """Returns a table's notes as a list."""
    listed = (
        inline(note, escape, "<code>{}</code>".format, "<strong>{}</strong>".format)
        for note in notes
    )
    return f'<ul class="notes">{"".join(f"<li>{note}</li>" for note in listed)}</ul>'


def _head(table: Table) -> str:
    names = [table.head, *(["arm"] if table.has_arms else [])]
    columns = [(name, "ascending", "word") for name in names]
    groups = []
    for metric in table.metrics:
        first = "descending" if is_better(metric, 1, 0) else "ascending"
        if table.has_published:
            groups.append(f'<th class="group" colspan="3">{escape(metric)}</th>')
            columns += [("ours", first, ""), ("published", first, ""), ("diff.", "descending", "")]
        else:
            columns.append((metric, first, ""))
    columns += [(name, "ascending", "") for name in table.extra_columns]
    above = ""
    if groups:
        above = (
            f'<tr><th colspan="{len(names)}"></th>{"".join(groups)}'
            f'<th colspan="{len(table.extra_columns)}"></th></tr>'
        )
    heads = "".join(
        f'<th scope="col" class="{kind}" data-column="{number}" data-first="{first}">'
        f'<button type="button">{escape(name)}</button></th>'
        for number, (name, first, kind) in enumerate(columns)
    )
    return f"{above}<tr>{heads}</tr>"


def _row(table: Table, line: Line, previous: str | None) -> str:
    kinds = [kind_of(table, line)]
    if table.has_arms:
        kinds.append("again" if line.name == previous else "first")
    note = f" <sup>{line.note}</sup>" if line.note else ""
    name, *arm = map(escape, table.names(line))
    cells = [f'<td class="word" data-key="{name}">{name}{note}</td>']
    cells += [f'<td class="word" data-key="{each}">{each}</td>' for each in arm]
    per_metric = 3 if table.has_published else 1
    if not line.made:
        span = per_metric * len(table.metrics)
        cells.append(f'<td class="failed" colspan="{span}">{escape(str(line.numbers[0]))}</td>')
    else:
        for number in line.numbers:
            cells += _number(table, number, line.source)
    cells += [f'<td data-key="{_key(cell)}">{escape(cell)}</td>' for cell in line.extra_cells]
    return f'<tr class="{" ".join(filter(None, kinds))}">{"".join(cells)}</tr>'


def kind_of(table: Table, line: Line) -> str:
    """Returns ``reference`` for the reference line, ``own`` for HILL's line, else an empty text."""
    if line.label == table.reference:
        return "reference"
    return "own" if line.made.get("own") and not line.arm else ""


def _number(table: Table, number: Number | str, source: str) -> Iterable[str]:
    if isinstance(number, str):
        yield f"<td>{escape(number)}</td>" + "<td></td><td></td>" * table.has_published
        return
    kind = {1: "first-best", 2: "second-best"}.get(number.rank, "")
    value, _, deviation = number.text.partition(" ± ")
    # An absent deviation or mark keeps its room, so that the means stand below each other.
    spread = mark = ""
    if table.has_deviations:
        absent = "" if deviation else " absent"
        spread = f' <span class="spread{absent}">± {deviation or value}</span>'
    if table.has_marks:
        mark = f'<span class="mark">{number.mark}</span>'
    tip = "" if number.t_p is None else f' title="{escape(_tested(number))}"'
    yield (
        f'<td class="{kind}" data-key="{number.mean!r}"{tip}>'
        f'<span class="value">{value}</span>{mark}{spread}</td>'
    )
    if not table.has_published:
        return
    if number.published is None:
        yield "<td></td><td></td>"
        return
    tip = f' title="published by {escape(source)}"' if source else ""
    starred = "*" if source else ""
    difference = difference_text(number.difference)
    yield (
        f'<td class="quiet" data-key="{number.published!r}"{tip}>'
        f"{published_text(number.published)}{starred}</td>"
        f'<td class="quiet" data-key="{number.difference!r}">'
        f"{difference.replace('-', '−')}</td>"
    )


def _key(cell: str) -> str:
    """Returns the key that sorts a cell: its number, if it begins with one."""
    first = cell.split(" ")[0].replace(",", "").removesuffix("%")
    try:
        return repr(float(first))
    except ValueError:
        return escape("" if cell == "–" else cell)


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
