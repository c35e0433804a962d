"""The tables that RecBole read for a run, kept in the run's folder, so that it can be served alone.

A run whose scores are no inner products is served by its model, which RecBole builds from the data.
What the data set's files held is kept as it was read: before ids are numbered, filtered and split.
All that follows is done again, and gives the same data.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as arrow
from pyarrow import parquet
from recbole.utils import FeatureSource, FeatureType

from recbole_hill.run.files import atomic_path, sha256_of
from recbole_hill.run.folder import TABLES
from recbole_hill.run.jsonl import HASH, short_id
from recbole_hill.run.own_files import read_json

#: The file that describes the tables, in their folder.
ABOUT = "tables.json"
#: Digits of a table's SHA-256 in its file's name.
_DIGITS = 16
#: What RecBole knows of each field besides its values.
_OF_FIELDS = ("field2type", "field2source", "field2seqlen", "field2bucketnum")


def has_tables(run: Path) -> bool:
    """Returns whether a run's folder keeps the tables of its data."""
    return (run / TABLES / ABOUT).is_file()


def keep_tables(dataset, run: Path) -> None:
    """Writes what a RecBole dataset has just read to a run's folder, unless it is there.

    A table that a run beside this one keeps is not stored twice: the two share the file.

    Args:
        dataset: The dataset, in the middle of its ``_load_data``.
        run: The run's folder.
    """
    if has_tables(run):
        return
    files = {
        name: _write(_as_arrow(table, dataset.field2type), name, run)
        for name in dataset._build_feat_name_list()
        if (table := getattr(dataset, name)) is not None
    }
    about = {
        "files": files,
        "file_sizes": getattr(dataset, "file_size_list", None),
        **{name: _plain(getattr(dataset, name)) for name in _OF_FIELDS},
    }
    about[HASH] = short_id(about)
    with atomic_path(run / TABLES / ABOUT) as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def read_tables(dataset, run: Path) -> None:
    """Reads into a RecBole dataset what :func:`keep_tables` wrote.

    Raises:
        ValueError: If a file is missing, or is not the one that was written.
    """
    folder = run / TABLES
    of_fields = dict.fromkeys(_OF_FIELDS, dict)
    about = read_json(folder / ABOUT, files=dict, file_sizes=(list, type(None)), **of_fields)
    if about.pop(HASH, None) not in (None, short_id(about)):
        raise ValueError(f"{folder / ABOUT} was changed after it was written")
    files, sizes = about["files"], about["file_sizes"]
    fields = [about[name] for name in _OF_FIELDS]
    kinds = {field: FeatureType(kind) for field, kind in fields[0].items()}
    sources = {field: _source(source) for field, source in fields[1].items()}
    for name, values in zip(_OF_FIELDS, (kinds, sources, *fields[2:]), strict=True):
        getattr(dataset, name).update(values)
    if sizes is not None:
        dataset.file_size_list = sizes
    for name in ("inter_feat", "user_feat", "item_feat", *files):
        setattr(dataset, name, _read(folder / files[name], kinds) if name in files else None)


def _as_arrow(table: pd.DataFrame, kinds: dict[str, FeatureType]) -> arrow.Table:
    """Returns a table as Arrow's; its index, which numbers a file's lines, is left out."""
    lists = {FeatureType.TOKEN_SEQ: arrow.string(), FeatureType.FLOAT_SEQ: arrow.float64()}
    columns = {}
    for field in table:
        values, of = table[field], lists.get(kinds[field])
        if of is None:
            columns[field] = arrow.Array.from_pandas(values)
        else:  # RecBole's empty lists are of numbers in a column of text, too
            columns[field] = arrow.array([v.tolist() for v in values], arrow.list_(of))
    return arrow.table(columns)


def _write(table: arrow.Table, name: str, run: Path) -> str:
    """Writes a table, or links to the file of a run beside this one, and returns its name."""
    folder = run / TABLES
    unnamed = folder / f"{name}.parquet"
    with atomic_path(unnamed) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    sha256 = sha256_of(unnamed)
    file = f"{name}-{sha256[:_DIGITS]}.parquet"
    others = run.parent.glob(f"*/{TABLES}/{file}")
    if other := next((other for other in others if sha256_of(other) == sha256), None):
        with suppress(OSError):  # a file system without links
            os.link(other, folder / file)
    if (folder / file).exists():
        unnamed.unlink()
    else:
        os.replace(unnamed, folder / file)
    return file


def _read(file: Path, kinds: dict[str, FeatureType]) -> pd.DataFrame:
    """Reads a table; its columns hold what RecBole's parser makes of the same values."""
    expected = file.stem.rpartition("-")[2]
    if not file.is_file() or sha256_of(file)[:_DIGITS] != expected:
        raise ValueError(f"{file} is missing or was changed after it was saved")
    table = parquet.read_table(file).to_pandas()
    for field in table:
        kind = kinds[field]
        if kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ):
            table[field] = [np.array(list(values)) for values in table[field]]
        elif kind == FeatureType.TOKEN:  # RecBole's parser marks a missing text by NaN
            table[field] = table[field].where(table[field].notna(), np.nan)
    return table


def _plain(of_field: dict) -> dict:
    return {field: getattr(value, "value", value) for field, value in of_field.items()}


def _source(value: str) -> FeatureSource | str:
    """Returns RecBole's name of a source; a further file's source is its suffix."""
    return FeatureSource(value) if value in {source.value for source in FeatureSource} else value
