"""The rows of a source, whatever its files are: blocks of columns, and where each row stands."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from recbole_hill.data.prepare.delimited import DelimitedFile
from recbole_hill.data.prepare.files import SourceFile, files_of
from recbole_hill.data.prepare.forms import Form, recognise
from recbole_hill.data.prepare.records import Frame, JsonLines, ParquetFile

#: Number of rows that a message names.
NAMED = 5


class Source:
    """A data frame, or files of one kind with the same columns.

    Args:
        source: A path (see `files_of`) or a data frame.
        wanted: Names of columns that the user gave; they tell a header.

    Attributes:
        files: The files; [] for a data frame.
        form: The public form that the files have, or None.
        columns: Names of the columns.
        named: Whether columns have names; otherwise they are called by number.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the files are of several kinds, differ in their columns or cannot be read.
    """

    def __init__(self, source: str | Path | pd.DataFrame, wanted: Collection[str] = ()):
        self.form: Form | None = None
        self.files: list[SourceFile] = []
        if isinstance(source, pd.DataFrame):
            self._readers, self.name = [Frame(source)], "the data frame"
        else:
            self.files, self.name = files_of(source), str(source)
            if found := recognise(self.files):
                self.form, self.files = found
            self._require_one_kind()
            self._readers = [self._reader(file, wanted) for file in self.files]
        first = self._readers[0]
        for reader in self._readers:
            if reader.columns != first.columns:
                raise ValueError(
                    f"{reader.file} has other columns ({', '.join(reader.columns)}) than "
                    f"{first.file} ({', '.join(first.columns)}): name one file as --source"
                )
        self.columns, self.named = first.columns, first.named
        self._sizes: list[int] = []

    def _require_one_kind(self) -> None:
        kinds = {file.kind for file in self.files}
        if len(kinds) > 1 or (kinds == {"atomic"} and len(self.files) > 1):
            raise ValueError(
                f"{self.name} holds several files ({', '.join(map(str, self.files[:NAMED]))}"
                f"{', ...' if len(self.files) > NAMED else ''}): name one of them as --source"
            )

    def _reader(self, file: SourceFile, wanted: Collection[str]):
        if file.kind == "json lines":
            return JsonLines(file)
        if file.kind == "parquet":
            return ParquetFile(file)
        return DelimitedFile(file, self.form, wanted)

    @property
    def broken(self) -> int:
        """Rows that could not be taken apart; counted while `blocks` is read."""
        return sum(reader.broken for reader in self._readers)

    def described(self) -> str:
        """Returns what is read, in words."""
        if not self.files:
            return self.name
        reader = self._readers[0]
        form = f"{self.form.name}, " if self.form else ""
        how = getattr(reader, "layout", reader)
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more} ({form}{how})"

    def blocks(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yields the columns at some positions, block by block, file after file."""
        self._sizes = []
        for reader in self._readers:
            self._sizes.append(0)
            reader.broken = 0
            for block in reader.blocks(positions):
                self._sizes[-1] += len(block[0])
                yield block

    def places(self, rows: np.ndarray) -> list[str]:
        """Returns where each of some rows stands: "line 3"; with several files also the file.

        Args:
            rows: Numbers of rows in the order of `blocks`, rising, shape (n,).
        """
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        files = np.searchsorted(starts, rows, side="right") - 1
        found = []
        for number in np.unique(files):
            reader, own = self._readers[number], (rows[files == number] - starts[number]).tolist()
            where = f"{reader.file.name}, " if len(self._readers) > 1 else ""
            if hasattr(reader, "lines"):
                found += [f"{where}line {line}" for line in reader.lines(own)]
            else:
                found += [f"{where}row {row + 1}" for row in own]
        return found

    def where(self, rows: np.ndarray) -> str:
        """Returns where the first of some rows stand, in words: "line 3, 9, 12, ..."."""
        places = self.places(rows[:NAMED])
        groups = groupby(places, key=lambda place: place.rpartition(" ")[0])
        named = (
            f"{before} {', '.join(place.rpartition(' ')[2] for place in group)}"
            for before, group in groups
        )
        return "; ".join(named) + (", ..." if len(rows) > NAMED else "")

    def broken_rows(self) -> list[str]:
        """Returns place and text of the first rows that could not be taken apart."""
        found = []
        for reader in self._readers:
            if reader.broken and len(found) < NAMED:
                where = f"{reader.file.name}, " if len(self._readers) > 1 else ""
                lines = reader.broken_lines(NAMED - len(found))
                found += [f"{where}line {line}: {text[:60]!r}" for line, text in lines]
        return found
