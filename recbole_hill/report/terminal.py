"""A table as plain text for a terminal."""

from collections.abc import Sequence

from recbole_hill.report.document import Number, Table, cells_of, spans
from recbole_hill.run.text import printable

_BEST = "*"
#: How the parts of a note are written.
_SPANS = {"text": str, "code": "`{}`".format, "stress": str}


def terminal_table(table: Table) -> str:
    """Returns a table under its title, and its notes as a list; the best numbers have a star."""
    rows = [table.columns, *(cells_of(table, line, printable, _number) for line in table.lines)]
    numbers = [n for line in table.lines for n in line.numbers if isinstance(n, Number)]
    legend = [f"{_BEST} the best of its column"] if any(n.rank == 1 for n in numbers) else []
    notes = ["".join(_SPANS[kind](text) for kind, text in spans(note)) for note in table.notes]
    listed = [f"- {printable(note)}" for note in (*legend, *notes)]
    return "\n".join([printable(table.title), "", text_columns(rows), "", *listed])


def text_columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells in columns: names flush left, numbers flush right.

    Args:
        rows: As many cells in each; the first row is the head.
    """
    names, *columns = zip(*rows, strict=True)
    set_columns = [_flush(names, left=True)]
    for column in columns:
        set_columns.append(_flush(column, left=not any(map(_is_number, column[1:]))))
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*set_columns, strict=True))


def _flush(column: Sequence[str], left: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in column]


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-.")[:1].isdigit()


def _number(number: Number | str) -> str:
    if isinstance(number, str):
        return printable(number)
    return number.text + number.mark + (_BEST if number.rank == 1 else "")
