"""Refuses a damaged file of RecBole's format with the file, the line and what is accepted.

Pandas and RecBole name neither, or read something else: a field too many is left out, and an id is
cut at a zero byte.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

from recbole_hill.data.headers import read_header, undecodable

_CHUNK = 1 << 24  # bytes


def check_file(path: Path, separator: str, encoding: str, ids: tuple[str, ...]) -> None:
    """Reads a file once, and refuses a header or a line that would be read as something else.

    Args:
        path: The file.
        separator: The text between fields.
        encoding: The file's encoding; ``utf-8-sig`` for UTF-8.
        ids: Names of the columns of ids, which must be tokens.

    Raises:
        ValueError: Names the file, the line and what is accepted.
    """
    n_columns = len(read_header(path, separator, encoding, ids))
    with open(path, encoding=encoding) as file:
        if not file.readline().endswith("\n"):
            raise ValueError(f"{path} has no row: it ends with line 1, the header")
    plain = "\t\n".encode(encoding).endswith(b"\t\n")  # not so in UTF-16
    counts = _check_text(path, separator.encode(), encoding) if plain else None
    if counts != (n_columns - 1, 0):
        _check_fields(path, separator, n_columns, encoding)


def _check_text(path: Path, separator: bytes, encoding: str) -> tuple[int, int]:
    """Refuses bytes that are no text, and zero bytes.

    Returns:
        The number of separators divided by the number of lines, and the rest.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    line, n_separators, chunk = 1, 0, b""
    for chunk in _chunks(path):
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            line += chunk.count(b"\n", 0, error.start)
            raise undecodable(path, f", line {line}", encoding) from error
        if (place := chunk.find(b"\0")) >= 0:
            line += chunk.count(b"\n", 0, place)
            raise ValueError(f"{path}, line {line}: a zero byte; accepted is text")
        line += chunk.count(b"\n")
        n_separators += chunk.count(separator)
    return divmod(n_separators, max(1, line - chunk.endswith(b"\n")))


def _check_fields(path: Path, separator: str, n_columns: int, encoding: str) -> None:
    """Refuses a line with more fields than columns, unless they are empty."""
    with open(path, encoding=encoding) as file:
        for line, text in enumerate(file, start=1):
            fields = text.rstrip("\n").split(separator)
            if any(fields[n_columns:]):
                raise ValueError(
                    f"{path}, line {line}: {len(fields)} fields; accepted are {n_columns}, as in "
                    "line 1"
                )


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
