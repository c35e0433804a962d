"""Interactions in memory: numbers for ids, seconds, ratings, and which rows are kept."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_hill.data.prepare.source import NAMED, Source
from recbole_hill.data.prepare.text import as_text
from recbole_hill.data.prepare.times import TimeReader, numbers

#: What a line of RecBole's file cannot hold in an id, and the token that RecBole gives to no id.
_BREAKS, _PADDING = r"[\t\r\n]", "[PAD]"


@dataclass
class Rows:
    """The rows of a source that are kept, in its order.

    Attributes:
        users: Number of each row's user, -1 without one, int32, shape (E,).
        items: Number of each row's item, likewise.
        times: Seconds since 1970, NaN where unreadable, float64, shape (E,); None without times.
        ratings: Ratings, NaN where there is none; None without ratings.
        user_ids: Ids by number, as written.
        item_ids: Ids by number, as written.
        numbers: Number of each row in the source, from 0.
        n_read: Rows of the source, with those that could not be taken apart.
        bad_ratings: Whether a row's rating is no number and not empty, shape (E,).
        notes: What was found out about the columns.
        left_out: Number of rows that were left out, per reason.
        positions: Position of the source's column per role.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    ratings: np.ndarray | None
    user_ids: pa.Array
    item_ids: pa.Array
    numbers: np.ndarray
    n_read: int
    bad_ratings: np.ndarray
    notes: list[str]
    positions: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def keep(self, mask: np.ndarray) -> None:
        """Keeps the rows where the mask is True."""
        if mask.all():
            return
        for name in ("users", "items", "times", "ratings", "numbers", "bad_ratings"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name)[mask])

    def unreadable(self) -> dict[str, tuple[np.ndarray, int]]:
        """Returns per reason which rows cannot be understood, and the column that is to blame."""
        found = {}
        bad = np.zeros(len(self), dtype=bool)
        if self.times is not None:
            bad = np.isnan(self.times)
            found["whose time cannot be read"] = bad, self.positions["time"]
        if self.ratings is not None:
            found["whose rating is no number"] = self.bad_ratings & ~bad, self.positions["rating"]
        return found

    def examples(self, source: Source, unreadable: dict) -> list[str]:
        """Returns place and value of the first unreadable rows of each reason."""
        shown = []
        for bad, position in unreadable.values():
            rows = self.numbers[bad][:NAMED]
            values = values_at(source, position, rows)
            places = source.places(rows)
            shown += [f"{one}: {value!r}" for one, value in zip(places, values, strict=True)]
        return shown


def values_at(source: Source, position: int, rows: np.ndarray) -> list[str]:
    """Returns a column's values in a few rows, by reading the column again."""
    found, start = [], 0
    for (column,) in source.blocks([position]) if len(rows) else ():
        here = rows[(rows >= start) & (rows < start + len(column))] - start
        found += as_text(column.take(pa.array(here))).to_pylist()
        start += len(column)
    return found


def read_rows(source: Source, chosen: dict[str, int]) -> Rows:
    """Reads the chosen columns of a source.

    Args:
        source: The source.
        chosen: Position of the column per role.

    Raises:
        ValueError: If a column's times are in no known form, or ids cannot be written.
    """
    reader = TimeReader(source.columns[chosen["time"]]) if "time" in chosen else None
    ids: dict[str, list[pa.Array]] = {"user": [], "item": []}
    times, ratings, bad, comma = [], [], [], False
    for block in source.blocks(list(chosen.values())):
        columns = dict(zip(chosen, block, strict=True))
        for role, chunks in ids.items():
            chunks.append(as_text(columns[role]).dictionary_encode())
        if reader:
            times.append(reader.read(columns["time"]))
        if "rating" in chosen:
            values, with_comma = numbers(columns["rating"])
            comma |= with_comma
            ratings.append(values)
            empty = pc.equal(pc.utf8_trim_whitespace(as_text(columns["rating"])), "")
            bad.append(np.isnan(values) & ~empty.to_numpy(zero_copy_only=False))
    n = sum(map(len, ids["user"]))
    if not n:
        raise ValueError(f"{source.name} holds no row that can be read")
    notes = [f"times are {reader.form}"] if reader and reader.form else []
    notes += ["ratings have a decimal comma"] if comma else []
    (users, user_ids), (items, item_ids) = (
        _numbered(role, chunks, notes) for role, chunks in ids.items()
    )
    return Rows(
        users=users,
        items=items,
        times=np.concatenate(times) if times else None,
        ratings=np.concatenate(ratings) if ratings else None,
        user_ids=user_ids,
        item_ids=item_ids,
        numbers=np.arange(n),
        n_read=n + source.broken,
        bad_ratings=np.concatenate(bad) if bad else np.zeros(n, dtype=bool),
        notes=notes,
        positions=chosen,
    )


def _numbered(role: str, chunks: list[pa.Array], notes: list[str]) -> tuple[np.ndarray, pa.Array]:
    """Returns each row's number of an id, -1 for an empty id, and the ids by number."""
    chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    ids = chunks[0].dictionary
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in chunks])
    empty = pc.index(ids, "").as_py()
    if empty >= 0:
        codes[codes == empty] = -1
    broken = pc.match_substring_regex(ids, _BREAKS)
    if n := pc.sum(broken).as_py():
        first = ids.filter(broken)[0].as_py()
        mended = pc.replace_substring_regex(ids, _BREAKS, " ")
        if len(mended.unique()) < len(ids):
            raise ValueError(
                f"{role} id {first!r} holds a tab or a line break, which RecBole's files cannot "
                "hold, and with a space in its place it would be another id"
            )
        notes.append(f"{n:,} {role} ids hold a tab or a line break (first {first!r}): now a space")
        ids = mended
    if pc.index(ids, _PADDING).as_py() >= 0:
        raise ValueError(f"{role} id {_PADDING!r} is RecBole's sign for no {role}: rename it")
    decimal = pc.match_substring_regex(ids, r"^\d+\.0$")
    if pc.sum(decimal).as_py() >= len(ids) - (empty >= 0):
        notes.append(f"every {role} id ends in .0, as whole numbers do that were decimals: kept so")
    return codes, ids


def first_of_pairs(rows: Rows) -> np.ndarray:
    """Returns a mask of the first row of each pair, in time or, without times, in order, (E,)."""
    pairs = rows.users.astype(np.int64) * len(rows.item_ids) + rows.items
    first = np.zeros(len(rows), dtype=bool)
    times = np.zeros(len(rows)) if rows.times is None else rows.times
    order = np.argsort(times, kind="stable")
    first[order[~pd.Series(pairs[order]).duplicated().to_numpy()]] = True
    return first


def core_of(rows: Rows, k: int) -> np.ndarray:
    """Returns a mask of the k-core's rows: every user and item left has k rows or more, (E,)."""
    keep = np.ones(len(rows), dtype=bool)
    while True:
        few = np.zeros(len(rows), dtype=bool)
        for ids in (rows.users, rows.items):
            counts = np.bincount(ids[keep], minlength=ids.max(initial=0) + 1)
            few |= counts[ids] < k
        if not (few & keep).any():
            return keep
        keep &= ~few
