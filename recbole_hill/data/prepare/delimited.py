"""Files of delimited text (CSV, TSV ...): how one is laid out, its columns, its rows.

pyarrow reads the rows. Python's csv module reads the beginning, which says how the file is laid
out, and counts lines where a row has to be named: both take quotes in the same way.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.csv

from recbole_hill.data.prepare.columns import is_known
from recbole_hill.data.prepare.files import SourceFile
from recbole_hill.data.prepare.forms import Form

#: Separators that are tried; "::" is MovieLens'. A space counts only where no other one fits.
SEPARATORS = ("\t", ";", ",", "|", "::", " ")
#: A separator of two characters is replaced by this one, which pyarrow can use.
_UNIT = b"\x1f"
#: Share of the rows that must have the same number of fields.
_ALIKE = 0.9
_BLOCK = 16 << 20
_VALUE = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?$")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Layout:
    """How a file of text is laid out.

    Attributes:
        encoding: Python's name of the encoding.
        separator: What separates fields.
        quoted: Whether a field may stand in double quotes.
        columns: Names of the columns; their numbers from 1 if the file has no header.
        header: Whether the first row holds the names.
    """

    encoding: str
    separator: str
    quoted: bool
    columns: tuple[str, ...]
    header: bool

    def __str__(self) -> str:
        names = {"\t": "tab", " ": "space"}
        separator = names.get(self.separator, repr(self.separator))
        header = "a header" if self.header else "no header, so that columns are called by number"
        return f"{self.encoding}, separated by {separator}, {header}"


class DelimitedFile:
    """A file of delimited text.

    Args:
        file: The file.
        form: The public form that it has; None to find its layout out.
        wanted: Names of columns that the user gave, which tell a header.

    Attributes:
        columns: Names of the columns.
        named: Whether the file or the form names the columns.
        layout: The layout.
        broken: Rows with another number of fields, which are left out; counted by `blocks`.

    Raises:
        ValueError: If the file is empty, or no separator fits.
    """

    def __init__(self, file: SourceFile, form: Form | None, wanted: Collection[str]):
        self.file, self.broken = file, 0
        encoding = encoding_of(file)
        if file.kind == "atomic":
            self.layout = _atomic(file, encoding)
        elif form and form.columns:
            self.layout = Layout(encoding, form.separator, False, form.columns, False)
        else:
            self.layout = layout_of(file, encoding, wanted)
        self.columns = self.layout.columns
        self.named = self.layout.header or bool(form and form.columns)

    def blocks(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yields the columns at some positions, block by block, as strings."""
        names = [str(number) for number in range(len(self.columns))]  # the file's may be repeated
        wanted = [names[position] for position in positions]
        layout = self.layout
        with self._open() as stream:
            try:
                reader = pa.csv.open_csv(
                    stream,
                    read_options=pa.csv.ReadOptions(
                        use_threads=False,
                        block_size=_BLOCK,
                        column_names=names,
                        skip_rows_after_names=int(layout.header),
                        encoding="utf8" if layout.encoding == "utf-8-sig" else layout.encoding,
                    ),
                    parse_options=pa.csv.ParseOptions(
                        delimiter=_one(layout.separator),
                        quote_char='"' if layout.quoted else False,
                        newlines_in_values=layout.quoted,
                        invalid_row_handler=self._skip,
                    ),
                    convert_options=pa.csv.ConvertOptions(
                        include_columns=list(dict.fromkeys(wanted)),
                        column_types=dict.fromkeys(wanted, pa.string()),
                        strings_can_be_null=False,
                    ),
                )
                for batch in reader:
                    yield [batch.column(name) for name in wanted]
            except pa.ArrowInvalid as error:
                if "mpty CSV" in str(error):
                    return
                raise ValueError(
                    f"{self.file} cannot be read as delimited text ({layout}): "
                    f"{str(error).splitlines()[0]}; a quote that is opened must be closed"
                ) from error

    def lines(self, rows: Collection[int]) -> list[int]:
        """Returns the line on which each of some rows begins; rows count from 0, without broken."""
        wanted, found = sorted(rows), []
        number = -1
        for line, fields in self._records():
            number += len(fields) == len(self.columns)
            if len(found) < len(wanted) and number == wanted[len(found)]:
                found.append(line)
            if len(found) == len(wanted):
                break
        return found

    def broken_lines(self, n: int) -> list[tuple[int, str]]:
        """Returns line and text of the first n rows with another number of fields."""
        others = (
            (line, _one(self.layout.separator).join(fields).replace(_UNIT.decode(), "::"))
            for line, fields in self._records()
            if len(fields) != len(self.columns)
        )
        return list(islice(others, n))

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the rows after the header with the line on which each begins."""
        csv.field_size_limit(1 << 30)  # a text of a review may be longer than Python's bound
        with self._open() as stream:
            text = io.TextIOWrapper(stream, self.layout.encoding, newline="")
            reader = csv_reader(text, self.layout.separator, self.layout.quoted)
            header, line = self.layout.header, 1
            for fields in reader:
                if fields and not header:
                    yield line, fields
                header = header and not fields
                line = reader.line_num + 1

    def _skip(self, _row) -> str:
        self.broken += 1
        return "skip"

    def _open(self):
        stream = self.file.opened()
        if len(self.layout.separator) == 1:
            return stream
        return io.BufferedReader(_Replacing(stream, self.layout.separator.encode(), _UNIT))


def _atomic(file: SourceFile, encoding: str) -> Layout:
    """Returns the layout of one of RecBole's files: tabs, no quotes, a type after each name."""
    first = file.head().decode(encoding, "replace").split("\n", 1)[0].rstrip("\r")
    columns = tuple(name.partition(":")[0] for name in first.split("\t"))
    return Layout(encoding, "\t", False, columns, True)


def layout_of(file: SourceFile, encoding: str, wanted: Collection[str]) -> Layout:
    """Finds out how a file is laid out, by its beginning.

    ``csv.Sniffer`` is not used: it takes letters for separators. The separator is the one by which
    the rows have equally many fields, the first row among them, and the most.

    Args:
        file: The file.
        encoding: Its encoding.
        wanted: Names of columns that the user gave, which tell a header.

    Raises:
        ValueError: If the file is empty, or no separator fits.
    """
    data = file.head()
    text = codecs.getincrementaldecoder(encoding)().decode(data)
    whole_lines = text if len(data) < 1 << 16 else text[: text.rfind("\n") + 1]
    if not text.strip():
        raise ValueError(f"{file} is empty")
    best, best_rows = (0, 0.0), []
    separator, quoted = "", True
    for one in SEPARATORS:
        if one == " " and best_rows:
            break
        for quotes in (True, False):
            rows = _rows(whole_lines, one, quotes)
            if quotes and len(data) < 1 << 16 and _ends_in_quotes(whole_lines, one):
                continue
            if len(rows) > 1 and len(data) == 1 << 16:
                rows = rows[:-1]  # the sample may end within it
            width, alike = Counter(map(len, rows)).most_common(1)[0]
            share = alike / len(rows)
            if width > 1 and share >= _ALIKE and len(rows[0]) == width and (width, share) > best:
                best, best_rows, separator, quoted = (width, share), rows, one, quotes
    if not best_rows:
        first = whole_lines.strip().splitlines()[0][:80]
        raise ValueError(
            f"{file}: no separator gives rows of two or more fields ({first!r}); tried are "
            f"{' '.join(map(repr, SEPARATORS))}"
        )
    first = tuple(name.strip() for name in best_rows[0])
    header = _is_header(first, best_rows[1:], wanted)
    columns = first if header else tuple(str(n) for n in range(1, len(first) + 1))
    return Layout(encoding, separator, quoted, columns, header)


def _is_header(first: Sequence[str], others: Sequence[Sequence[str]], wanted: Collection[str]):
    if any(is_known(name) or name in wanted for name in first):
        return True
    if any(_VALUE.match(name) for name in first):
        return False
    return not any(  # a value that comes again is no name
        name and name == row[position].strip()
        for row in others
        if len(row) == len(first)
        for position, name in enumerate(first)
    )


def _rows(text: str, separator: str, quoted: bool) -> list[list[str]]:
    if len(separator) > 1:
        text = text.replace(separator, _UNIT.decode())
    reader = csv_reader(io.StringIO(text, newline=""), separator, quoted)
    return [row for row in reader if row] or [[]]


def _ends_in_quotes(text: str, separator: str) -> bool:
    """Returns whether a quote is open at the end of a text, so that quotes mean something else."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_one(separator), strict=True)
    try:
        for _ in reader:
            pass
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def csv_reader(text, separator: str, quoted: bool):
    """Returns Python's reader of delimited text, with quotes or without."""
    return csv.reader(
        text, delimiter=_one(separator), quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )


def _one(separator: str) -> str:
    return separator if len(separator) == 1 else _UNIT.decode()


def encoding_of(file: SourceFile) -> str:
    """Returns a file's encoding: by its mark, UTF-8 if all of it is UTF-8, otherwise cp1252.

    The few bytes that cp1252 does not have make it latin-1.
    """
    head = file.head(4)
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            return encoding
    for encoding in ("utf-8", "cp1252"):
        decoder = codecs.getincrementaldecoder(encoding)()
        with file.opened() as stream:
            try:
                while block := stream.read(1 << 20):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
                return encoding
            except UnicodeDecodeError:
                continue
    return "latin-1"


class _Replacing(io.RawIOBase):
    """A stream in which one separator stands in the place of a longer one."""

    def __init__(self, inner, old: bytes, new: bytes):
        self._inner, self._old, self._new, self._kept = inner, old, new, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while True:
            fresh = self._inner.read(len(buffer) - len(self._kept))
            data = (self._kept + fresh).replace(self._old, self._new)
            self._kept = b""
            if fresh and data.endswith(self._old[:1]):  # the rest of it may follow
                data, self._kept = data[:-1], data[-1:]
            if data or not fresh:
                buffer[: len(data)] = data
                return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()
