"""Text from files and users on its way to a terminal and to a spreadsheet.

HTML, LaTeX and Markdown have an escape of their own beside their writers, in ``report``.
"""

import io
import re
import sys

#: Characters that move the cursor, ring, colour, end a line or turn the direction of writing.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: Characters that begin a formula in Excel, LibreOffice and Google Sheets.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object) -> str:
    r"""Returns a text as one line: a control character is shown by its escape, such as ``\x1b``."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def printable_lines(text: str) -> str:
    """Returns a text of several lines without control characters in any of them."""
    return "\n".join(map(printable, text.split("\n")))


def spreadsheet_cell(value):
    """Returns a cell of a CSV file that no spreadsheet takes for a formula.

    A text that would begin a formula gets an apostrophe before it. Numbers stay as they are, also
    as text: ``-5`` is no formula.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def print_every_character() -> None:
    r"""Has standard output and error show a character that they cannot encode as its escape.

    A terminal in ASCII shows ``Zo\xeb`` for Zoë, and the command goes on.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def as_utf8(argument: str) -> str:
    """Returns an argument of the command line as UTF-8, also where the locale is ASCII.

    There Python hands on each byte that is not ASCII as a lone surrogate.
    """
    try:
        return argument.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return argument
