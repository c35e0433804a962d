"""Reads RecBole's files with pandas' C parser, in a tenth of the time of RecBole's parser."""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pandas as pd
from recbole.data.dataset import dataset as recbole_dataset

#: What counts as missing in a column of numbers, as in pandas; in a column of text it is a value.
_NO_NUMBER = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)


@contextmanager
def c_parser() -> Iterator[None]:
    """Makes RecBole read files with :func:`read_csv`; RecBole has no setting for the parser."""
    kept = recbole_dataset.pd
    recbole_dataset.pd = SimpleNamespace(**{**vars(pd), "read_csv": read_csv})
    recbole_dataset.open = _open  # in that module alone, which opens files for their headers
    try:
        yield
    finally:
        recbole_dataset.pd = kept
        del recbole_dataset.open


def text_encoding(encoding: str | None) -> str:
    """Returns the encoding of a file: UTF-8, whatever the system's own, if no other is set.

    A mark before UTF-8, which some programs write, is left out.

    Raises:
        ValueError: If Python has no encoding of this name.
    """
    try:
        is_utf8 = codecs.lookup(encoding or "utf-8").name == "utf-8"
    except LookupError as error:
        raise ValueError(f"encoding must be a name such as utf-8, got {encoding!r}") from error
    return "utf-8-sig" if is_utf8 else encoding


def _open(path, mode: str = "r", encoding: str | None = None):
    return open(path, mode, encoding=text_encoding(encoding))


def read_csv(path, *, delimiter: str, engine: str, dtype: dict, **settings) -> pd.DataFrame:
    """Reads a file as plain fields, with pandas' C parser if it can; decimals to the bit.

    A quote is a character. In a column of text only an empty field is missing: ``NA`` and ``null``
    are values. Blank lines are left out.

    A file that the C parser refuses is read by the parser named in ``engine``.

    Args:
        path: The file.
        delimiter: The text between fields. A delimiter of several characters is a regular
            expression, which the C parser does not support.
        engine: The parser to fall back on.
        dtype: ``str`` or ``np.float64`` for every column.
        **settings: Further settings of pandas.

    Returns:
        The table. A row's label is its line's number less 2, so that 0 is the line after the
        header.

    Raises:
        ValueError: If a number cannot be read; names the file, the line, the column and the value.
    """
    settings |= {
        "delimiter": delimiter,
        "dtype": dtype,
        "quoting": csv.QUOTE_NONE,
        "keep_default_na": False,
        "na_values": {name: [""] if kind is str else _NO_NUMBER for name, kind in dtype.items()},
        # Else lines would not be counted, and spaces before the first field would be lost.
        "skip_blank_lines": False,
        "encoding": text_encoding(settings["encoding"]),
    }
    try:
        table = _read(path, engine, settings)
    except ValueError:
        _require_numbers(path, engine, settings)
        raise
    return table.dropna(how="all")


def _read(path, engine: str, settings: dict) -> pd.DataFrame:
    if len(settings["delimiter"]) == 1:
        try:
            # "high" is how the Python parser reads decimals.
            return pd.read_csv(path, engine="c", float_precision="high", **settings)
        except ValueError:
            pass
    return pd.read_csv(path, engine=engine, **settings)


def _require_numbers(path, engine: str, settings: dict) -> None:
    """Names the first text in a column of numbers, after a parser has failed."""
    numbers = [name for name, kind in settings["dtype"].items() if kind is not str]
    text = dict.fromkeys(settings["dtype"], str)
    for name, column in _read(path, engine, {**settings, "dtype": text})[numbers].items():
        bad = column[column.notna() & pd.to_numeric(column, errors="coerce").isna()]
        if len(bad):
            raise ValueError(
                f"{path}, line {bad.index[0] + 2}: {name} {bad.iloc[0]!r} is no number; accepted "
                "is a number such as 5.0, or an empty field"
            )
