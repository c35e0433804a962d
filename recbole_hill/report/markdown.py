"""A table in Markdown."""

import re
from collections.abc import Iterable, Sequence

from recbole_hill.report.document import Number, Table, cells_of, spans
from recbole_hill.run.text import printable

#: What Markdown would read as markup: escapes, pipes, code, stress, tags, entities and links.
_MARKUP = re.compile(
    r"\\(?=[!-/:-@\[-`{-~]|$)|[|`<]|\*(?=\S)|(?<=\S)\*|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#?\w+;)|\](?=[(\[:])|~(?=~)"
)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def markdown(table: Table) -> str:
    """Returns a table and its notes as a list; the best is bold, the second underlined."""
    lines = (cells_of(table, line, escape, _number) for line in table.lines)
    rows = [list(map(escape, table.columns)), *lines]
    return "\n".join([markup_table(rows), "", *note_list(table.notes)])


def pipe_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of cells under a head.

    Args:
        head: Names of the columns, as plain text.
        rows: Rows of as many cells, as plain text.
    """
    return markup_table([list(map(escape, cells)) for cells in (head, *rows)])


def note_list(notes: Iterable[str]) -> list[str]:
    """Returns notes with `code` and **stress** as lines of a list."""
    return [f"- {''.join(_SPANS[kind](text) for kind, text in spans(note))}" for note in notes]


def escape(text: str) -> str:
    """Returns plain text as one line of Markdown that shows it and holds no markup."""
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), printable(text))


#: How the parts of a note are written; code shows every character as it is.
_SPANS = {
    "text": escape,
    "code": lambda text: f"`{printable(text)}`",
    "stress": lambda text: f"**{escape(text)}**",
}


def markup_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells, which are Markdown already; the first row is the head."""
    head, *body = rows
    return "\n".join([_row(head), "|---" * len(head) + "|", *map(_row, body)])


def _number(number: Number | str) -> str:
    if isinstance(number, str):
        return escape(number)
    text = number.text
    if number.rank == 1:
        text = f"**{text}**"
    elif number.rank == 2:
        text = f"<ins>{text}</ins>"  # the underlining that GitHub shows
    return text + number.mark


def _row(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)
