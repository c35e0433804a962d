"""A table in Markdown."""

from collections.abc import Iterable, Sequence

from recbole_hill.report.document import Line, Number, Table, difference_text, published_text


def markdown(table: Table) -> str:
    """Returns a table and its notes as a list; the best is bold, the second underlined."""
    columns = [table.head]
    columns += ["arm"] if table.has_arms else []
    columns += table.metrics
    columns += ["published", "difference"] if table.has_published else []
    columns += table.extra_columns
    rows = (_cells(table, line) for line in table.lines)
    return "\n".join([pipe_table(columns, rows), "", *(f"- {note}" for note in table.notes)])


def pipe_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of cells under a head; a cell may hold a ``|``.

    Args:
        head: Names of the columns.
        rows: Rows of as many cells.
    """
    return "\n".join([_row(head), "|---" * len(head) + "|", *map(_row, rows)])


def _cells(table: Table, line: Line) -> list[str]:
    name, *arm = table.names(line)
    name += f" [{line.note}]" if line.note else ""
    cells = [name, *arm, *map(_number, line.numbers)]
    if table.has_published:
        source = f" ({line.source})" if line.source else ""
        cells += [
            "/".join(map(published_text, line.published)) + source if line.published else "–",
            " / ".join(map(difference_text, line.differences)),
        ]
    return [*cells, *line.extra_cells]


def _number(number: Number | str) -> str:
    if isinstance(number, str):
        return number
    text = number.text
    if number.rank == 1:
        text = f"**{text}**"
    elif number.rank == 2:
        text = f"<ins>{text}</ins>"  # the underlining that GitHub shows
    return text + number.mark


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in escaped)
