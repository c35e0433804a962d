"""Anybody's interactions into RecBole's atomic file: ``prepare shop --source=orders.csv``.

The rows are read, columns are chosen (`columns`), times and ratings are understood (`times`). Then
rows are left out for one reason after the other, each counted and said, and the rest is written.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_hill.data.prepare.columns import ROLES, choose_columns
from recbole_hill.data.prepare.prepared import (
    combined,
    dataset_settings,
    described,
    described_files,
    made_otherwise,
    reading,
    record_of,
    require_unchanged,
    writing,
)
from recbole_hill.data.prepare.rows import Rows, core_of, first_of_pairs, read_rows
from recbole_hill.data.prepare.source import Source
from recbole_hill.data.prepare.statistics import describe
from recbole_hill.run.files import atomic_path, sha256_of
from recbole_hill.run.own_files import read_json

FORMAT = 1
#: Share of rows that may be unreadable: rows that cannot be taken apart, times and ratings.
MOST_UNREADABLE = 0.05
_WRITTEN_AT_ONCE = 1 << 18
#: Field of RecBole's file per role.
_FIELDS = {
    "user": "user_id:token",
    "item": "item_id:token",
    "time": "timestamp:float",
    "rating": "rating:float",
}


@dataclass(frozen=True)
class Prepared:
    """Interactions that are ready for RecBole.

    Attributes:
        folder: Where they are.
        n_users: Number of users.
        n_items: Number of items.
        n_rows: Number of rows.
        notes: What a reader of the data should know, a sentence each: which columns were taken,
            and which rows were left out.
        summary: Notes and statistics as text of several lines.
        has_times: Whether the rows have times.
    """

    folder: Path
    n_users: int
    n_items: int
    n_rows: int
    notes: list[str]
    summary: str
    has_times: bool = False

    def __str__(self) -> str:
        return self.summary


def prepare_interactions(
    source: str | Path | pd.DataFrame,
    name: str,
    output: str | Path = "dataset",
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    rating: str | None = None,
    min_rating: float | None = None,
    core: int | None = None,
    force: bool = False,
) -> Prepared:
    """Writes interactions to ``output/name/name.inter``, with a manifest beside it.

    Columns that are not named are chosen by common names. Ids stay as they are written. Rows are
    left out if they have no user or item, a time or a rating that cannot be read, or a rating below
    ``min_rating``. Of the rows of one <user, item> pair the first in time is kept, without times
    the first in the file. Then ``core`` is applied. If the same is in place, nothing is written.

    Args:
        source: A file (CSV or other delimited text, JSON lines, Parquet, RecBole's ``.inter``; also
            ``.gz``), a folder or zip archive of such files, or a pandas data frame.
        name: The dataset's name.
        output: RecBole's ``data_path``.
        user, item, time, rating: Column of each, by name or by number from 1; ``"none"`` for a time
            or rating that is not to be used.
        min_rating: The least rating of a row that is kept.
        core: The least number of rows of each user and each item that is kept (k-core).
        force: Whether to replace other data of this name.

    Returns:
        What was written, or found in place.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If a column or an option does not fit, too many rows are unreadable, no row is
            left, or other data of this name are in place. Nothing is written then.
    """
    dataset_settings(name)  # refuses what cannot be a name
    _require_numbers(min_rating, core)
    given = {
        role: None if value is None else str(value)
        for role, value in zip(ROLES, (user, item, time, rating), strict=True)
    }
    options = {**given, "min_rating": min_rating, "core": core}
    opened = Source(source, {value for value in given.values() if value and not value.isdigit()})
    roles = opened.form.roles if opened.form else {}
    given = {role: given[role] or roles.get(role) for role in ROLES}
    chosen, guessed = choose_columns(opened.columns, given, opened.name, named=opened.named)
    if min_rating is not None and "rating" not in chosen:
        raise ValueError(
            f"min_rating {min_rating:g} needs ratings, and no column was chosen for them: say "
            f"--rating=COLUMN; the columns are {', '.join(map(repr, opened.columns))}"
        )
    folder = Path(output) / name
    target = folder / f"{name}.inter"
    if any(file.path.resolve() == target.resolve() for file in opened.files):
        raise ValueError(
            f"{target} is RecBole's file already: it is ready for --dataset={name}; to change it, "
            "prepare it under another name"
        )
    sources = _sources(source, opened, chosen)
    columns = {role: opened.columns[position] for role, position in chosen.items()}
    made_from = {"sources": sources, "columns": columns, "options": options}
    if not force and (known := _in_place(folder, name, made_from, opened.name)):
        return known

    rows = read_rows(opened, chosen)
    notes = [f"read {opened.described()}", _says_columns(opened, chosen, guessed), *rows.notes]
    notes += _leave_out(rows, opened, min_rating, core)
    with writing(folder):
        files = _write(rows, folder, target)
        n_users, n_items = (len(np.unique(ids)) for ids in (rows.users, rows.items))
        compact = [np.unique(ids, return_inverse=True)[1] for ids in (rows.users, rows.items)]
        summary = "\n".join([*notes, describe(*compact, rows.times)])
        prepared = Prepared(
            folder, n_users, n_items, len(rows), notes, summary, has_times=rows.times is not None
        )
        manifest = {
            "name": name,
            "converter": "interactions",
            "format": FORMAT,
            **made_from,
            "counts": {"read": rows.n_read, "left_out": rows.left_out},
            "data_sha256": combined(files),
            "files": files,
            "prepared": {key: value for key, value in asdict(prepared).items() if key != "folder"},
        }
        with atomic_path(folder / f"{name}.manifest.json") as temporary:
            text = json.dumps(manifest, indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    return prepared


def _require_numbers(min_rating, core) -> None:
    if min_rating is not None and not np.isfinite(min_rating):
        raise ValueError(f"min_rating must be a number, got {min_rating!r}")
    if core is not None and (not isinstance(core, int) or core < 1):
        raise ValueError(f"core must be an integer >= 1, got {core!r}")


def _sources(source, opened: Source, chosen: dict[str, int]) -> dict[str, str]:
    """Returns the SHA-256 per file read, or of the data frame's chosen columns."""
    if opened.files:
        return {path.name: sha256_of(path) for path in sorted({f.path for f in opened.files})}
    digest = hashlib.sha256()
    for position in chosen.values():
        values = source.iloc[:, position].astype(str)
        digest.update(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return {opened.name: digest.hexdigest()}


def _in_place(folder: Path, name: str, made_from: dict, where: str) -> Prepared | None:
    """Returns what is in place if it was made from the same; None if nothing whole is there.

    Raises:
        ValueError: If other data of this name are there.
    """
    manifest, target = folder / f"{name}.manifest.json", folder / f"{name}.inter"
    if not manifest.is_file():
        if target.is_file() or (folder / f"{name}.train.inter").is_file():
            raise made_otherwise(folder, name, where)
        return None
    with reading(manifest):
        known = read_json(manifest)
        same_files = known.get("format") == FORMAT and known["sources"] == made_from["sources"]
        differ = _differing(known, made_from) if same_files else []
    if differ or not same_files:
        raise made_otherwise(folder, name, where, differ)
    with reading(manifest):
        files, found = described_files(known), known["prepared"]
        summary = f"already prepared, nothing written\n{found['summary']}"
        prepared = record_of(Prepared, {**found, "folder": folder, "summary": summary})
    try:
        require_unchanged(folder, files)
    except ValueError:  # a half-written or damaged folder is written again
        return None
    return prepared


def _differing(known: dict, made_from: dict) -> list[str]:
    """Returns the names of what a manifest has otherwise than ``made_from``, but for its files."""
    differ = ["columns"] if known["columns"] != made_from["columns"] else []
    of = known["options"], made_from["options"]
    return differ + [key for key in ("min_rating", "core") if of[0][key] != of[1][key]]


def _says_columns(opened: Source, chosen: dict[str, int], guessed: list[str]) -> str:
    of = {role: opened.columns[position] for role, position in chosen.items()}
    how = " (by their names)" if opened.named else " (by their order)"
    taken = ", ".join(f"{role} = {column}" for role, column in of.items())
    without = [role for role in ROLES if role not in chosen]
    lacking = (
        f"; no {' and no '.join(without)} (--{without[0]}=COLUMN names one)" if without else ""
    )
    return f"columns: {taken}{how if guessed else ''}{lacking}"


def _leave_out(rows: Rows, opened: Source, min_rating: float | None, core: int | None) -> list[str]:
    """Leaves rows out for one reason after the other; returns a note per reason that occurs.

    Raises:
        ValueError: If too many rows are unreadable, or none is left.
    """
    notes = []

    def out(keep: np.ndarray, reason: str, places: bool = True) -> None:
        if keep.all():
            return
        left = rows.numbers[~keep]
        where = f" ({opened.where(left)})" if places else ""
        notes.append(f"left out: {len(left):,} rows {reason}{where}")
        rows.left_out[reason] = len(left)
        rows.keep(keep)

    if opened.broken:
        reason = f"whose number of fields is not {len(opened.columns)}"
        if opened.files[0].kind == "json lines":
            reason = "that hold no JSON object"
        rows.left_out[reason] = opened.broken
        notes.append(
            f"left out: {opened.broken:,} rows {reason} ({'; '.join(opened.broken_rows())})"
        )
    out((rows.users >= 0) & (rows.items >= 0), "without a user or an item")
    unreadable = rows.unreadable()
    n_bad = opened.broken + int(sum(bad.sum() for bad, _ in unreadable.values()))
    if n_bad > MOST_UNREADABLE * rows.n_read:
        told = "; ".join([*opened.broken_rows()[:3], *rows.examples(opened, unreadable)][:4])
        raise ValueError(
            f"{opened.name}: {n_bad:,} of {rows.n_read:,} rows cannot be read, and at most "
            f"{MOST_UNREADABLE:.0%} may be left out: {told}"
        )
    for reason, (bad, column) in unreadable.items():
        shown = rows.examples(opened, {reason: (bad, column)})
        if bad.any():
            notes.append(f"left out: {bad.sum():,} rows {reason} ({'; '.join(shown)})")
            rows.left_out[reason] = int(bad.sum())
    rows.keep(~np.logical_or.reduce([bad for bad, _ in unreadable.values()] or [rows.users < 0]))
    if min_rating is not None:
        out(rows.ratings >= min_rating, f"with no rating of {min_rating:g} or more")
    kept = "the first in time" if rows.times is not None else "the first one"
    out(first_of_pairs(rows), f"that repeat a <user, item> pair, of which {kept} is kept")
    if core is not None:
        out(core_of(rows, core), f"of users or items with fewer than {core} rows", places=False)
    if not len(rows):
        raise ValueError(
            f"{opened.name}: no row is left of {rows.n_read:,}: "
            f"{'; '.join(note.removeprefix('left out: ') for note in notes) or 'it has none'}"
        )
    return notes


def _write(rows: Rows, folder: Path, target: Path) -> dict[str, dict]:
    """Writes the atomic file; returns its description."""
    columns = {"user": rows.users, "item": rows.items, "time": rows.times, "rating": rows.ratings}
    columns = {role: values for role, values in columns.items() if values is not None}
    tokens = {"user": rows.user_ids, "item": rows.item_ids}
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        file.write("\t".join(_FIELDS[role] for role in columns).encode() + b"\n")
        for start in range(0, len(rows), _WRITTEN_AT_ONCE):
            texts = []
            for role, values in columns.items():
                part = pa.array(values[start : start + _WRITTEN_AT_ONCE])
                if role in tokens:
                    texts.append(tokens[role].take(part))
                else:
                    part = pc.if_else(pc.is_nan(part), None, part).cast(pa.string())
                    texts.append(pc.fill_null(part, ""))
            lines = pc.binary_join_element_wise(*texts, "\t")
            block = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0]
            file.write(block.as_buffer())
            file.write(b"\n")
    return {target.name: described(target)}
