"""Files and tables whose values have types: JSON lines, Parquet, a pandas data frame."""

import io
import json
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import pandas as pd
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet

from recbole_hill.data.prepare.files import SourceFile

_BLOCK = 16 << 20
_ROWS = 1 << 18
_SAMPLE = 1000
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


class JsonLines:
    """A file with a JSON object per line.

    Args:
        file: The file.

    Attributes:
        columns: The keys of its first objects.
        named: True.
        broken: Lines that hold no object, which are left out; counted by `blocks`.

    Raises:
        ValueError: If its first line is no JSON object.
    """

    named = True

    def __init__(self, file: SourceFile):
        self.file, self.broken = file, 0
        with file.opened() as stream:
            lines = [line for line in islice(stream, _SAMPLE) if line.strip()]
        if not lines:
            raise ValueError(f"{file} is empty")
        sample = [found for found in map(_object, lines) if found is not None]
        if not sample:
            shown = lines[0][:60].decode("utf-8", "replace").strip()
            raise ValueError(
                f"{file}, line 1 is no JSON object ({shown!r}); accepted is an object per line, "
                '{"user_id": "u1", "item_id": "i1"}'
            )
        self.columns = tuple(dict.fromkeys(key for found in sample for key in found))
        self._types = {}
        for key in self.columns:
            kinds = {type(found[key]) for found in sample if found.get(key) is not None}
            kinds = {float} if kinds == {int, float} else kinds
            self._types[key] = _TYPES.get(kinds.pop()) if len(kinds) == 1 else None

    def blocks(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yields the columns at some positions, block by block."""
        keys = [self.columns[position] for position in positions]
        with self.file.opened() as stream:
            while block := stream.read(_BLOCK):
                yield self._columns(block + stream.readline(), keys)

    def _columns(self, block: bytes, keys: list[str]) -> list[pa.Array]:
        """Returns a block's columns; a block that pyarrow refuses is read line by line."""
        types = [self._types[key] for key in keys]
        if all(types):
            try:
                table = pa.json.read_json(
                    io.BytesIO(block),
                    read_options=pa.json.ReadOptions(block_size=len(block) + 1),
                    parse_options=pa.json.ParseOptions(
                        explicit_schema=pa.schema(list(zip(keys, types, strict=True))),
                        unexpected_field_behavior="ignore",
                    ),
                ).combine_chunks()
                return [table.column(key).chunk(0) for key in keys]
            except pa.ArrowInvalid:  # a broken line, or numbers beside strings
                pass
        found = [_object(line) for line in block.split(b"\n") if line.strip()]
        objects = [one for one in found if one is not None]
        self.broken += len(found) - len(objects)
        return [pa.array([_text(one.get(key)) for one in objects], pa.string()) for key in keys]

    def lines(self, rows: Collection[int]) -> list[int]:
        """Returns the line of each of some rows; rows count from 0, without broken lines."""
        wanted = set(rows)
        with self.file.opened() as stream:
            good = (n for n, line in enumerate(stream, 1) if line.strip() and _object(line))
            return [n for row, n in enumerate(islice(good, max(wanted) + 1)) if row in wanted]

    def broken_lines(self, n: int) -> list[tuple[int, str]]:
        """Returns number and text of the first n lines that hold no object."""
        with self.file.opened() as stream:
            others = (
                (number, line.decode("utf-8", "replace").strip())
                for number, line in enumerate(stream, 1)
                if line.strip() and _object(line) is None
            )
            return list(islice(others, n))

    def __str__(self) -> str:
        return "JSON lines"


def _object(line: bytes) -> dict | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(value) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


class ParquetFile:
    """A Parquet file.

    Args:
        file: The file.

    Attributes:
        columns: Names of the columns.
        named: True.
        broken: 0; a Parquet file is whole or refused.

    Raises:
        ValueError: If it is no Parquet file.
    """

    named = True

    def __init__(self, file: SourceFile):
        self.file, self.broken = file, 0
        try:
            self._parquet = pa.parquet.ParquetFile(
                io.BytesIO(file.opened().read()) if file.member else file.path
            )
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file} is no Parquet file: {error}") from error
        self.columns = tuple(self._parquet.schema_arrow.names)

    def blocks(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yields the columns at some positions, block by block."""
        names = [self.columns[position] for position in positions]
        for batch in self._parquet.iter_batches(_ROWS, columns=list(dict.fromkeys(names))):
            yield [batch.column(name) for name in names]

    def __str__(self) -> str:
        return "Parquet"


class Frame:
    """A pandas data frame.

    Args:
        table: The data frame.

    Attributes:
        columns: Names of the columns.
        named: True.
        broken: 0.
        file: "the data frame", for messages.
    """

    named, file = True, "the data frame"

    def __init__(self, table: pd.DataFrame):
        self._table, self.broken = table, 0
        self.columns = tuple(map(str, table.columns))

    def blocks(self, positions: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yields the columns at some positions, block by block."""
        for start in range(0, len(self._table), _ROWS):
            part = self._table.iloc[start : start + _ROWS]
            yield [_array(part.iloc[:, position]) for position in positions]

    def __str__(self) -> str:
        return "a pandas data frame"


def _array(column: pd.Series) -> pa.Array:
    """Returns a pandas column as an Arrow array; values of several types become text."""
    try:
        found = pa.Array.from_pandas(column)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        found = pa.Array.from_pandas(column.map(_text, na_action="ignore"), type=pa.string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
