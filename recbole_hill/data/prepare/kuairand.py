"""KuaiRand's CSV files (Gao et al., CIKM 2022) into RecBole's atomic files: labelled impressions.

Files read and files written (``*`` is the version, ``pure``):

| read                                            | written           | rows                |
|-------------------------------------------------|-------------------|---------------------|
| log_standard_4_08_to_4_21_*, ..._4_22_to_5_08_* | NAME.inter        | what the app showed |
| log_random_4_22_to_5_08_*, if it is there       | NAME.random.inter | shown at random     |
| user_features_*                                 | NAME.user         | users               |
| video_features_basic_*                          | NAME.item         | videos              |

The random log stays a separate file because its videos were not chosen for their users: a sixth of
its impressions are clicked, and nearly half in the standard log. ``video_features_statistic_*`` is
not read: it averages each video's plays, likes ... over the whole period, test included. The
videos' column ``visible_status`` is left out, too: it is of the day that the data were published.

Rows with the same user, video and millisecond are one impression that was logged several times
(1.5 % of KuaiRand-Pure's standard log). They are merged: a label is 1 if any copy has it, and the
scene (``tab``) is the first copy's. A missing feature stays missing. ``is_live_streamer`` of -124
is the data's own mark for "not known", and counts as missing. In the logs no value may be missing,
and every user and video must be in the feature files: otherwise a file is damaged, or the files are
of different versions.
"""

import csv
import json
import math
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from recbole_hill.data.prepare.prepared import (
    combined,
    dataset_settings,
    described,
    made_otherwise,
    reading,
    record_of,
    require_unchanged,
    writing,
)
from recbole_hill.run.files import atomic_path, sha256_of
from recbole_hill.run.own_files import read_json

FORMAT = 1
LABELS = ("is_click", "is_like", "is_follow", "long_view")
#: Midnight in Beijing before the first day. RecBole's numbers are float32. In float32 seconds since
#: 1970 have a resolution of two minutes, and seconds since this day of a quarter of a second.
START_MS = 1_649_347_200_000

_LOG = ("user_id", "video_id", "time_ms", "tab", *LABELS)
_USER, _ITEM, _TIME, _TAB, _FIRST_LABEL = range(5)
_USER_FIELDS = {
    "user_id": "token",
    "user_active_degree": "token",
    "is_lowactive_period": "token",
    "is_live_streamer": "token",
    "is_video_author": "token",
    "follow_user_num": "float",
    "follow_user_num_range": "token",
    "fans_user_num": "float",
    "fans_user_num_range": "token",
    "friend_user_num": "float",
    "friend_user_num_range": "token",
    "register_days": "float",
    "register_days_range": "token",
    **{f"onehot_feat{number}": "token" for number in range(18)},
}
_ITEM_FIELDS = {
    "video_id": "token",
    "author_id": "token",
    "video_type": "token",
    "upload_dt": "token",
    "upload_type": "token",
    "video_duration": "float",
    "server_width": "float",
    "server_height": "float",
    "music_id": "token",
    "music_type": "token",
    "tag": "token_seq",
}
_MISSING = frozenset({"", "nan", "NaN", "NULL", "null", "None", "\\N"})
_MISSING_OF = {"is_live_streamer": "-124"}
_COUNTS = ("standard", "random", "users", "videos")


@dataclass(frozen=True)
class Manifest:
    """A record of a prepared KuaiRand dataset.

    Attributes:
        name: The dataset's name, which is also its folder's.
        read: Rows read from the ``standard`` log, from the ``random`` log if it is there, from
            ``users`` and from ``videos``.
        impressions: Rows written per log, copies merged.
        disagreeing: Per log the impressions whose copies differ in a label.
        positives: Per log and label the impressions whose label is 1.
        users: Users with an impression in the standard log.
        items: Videos with an impression in the standard log.
        missing: Per feature the number of users or videos that lack it; a feature without missing
            values is left out.
        start_ms: Unix time in milliseconds of the time 0 in the files.
        data_sha256: One hash of all written files.
        sources: SHA-256 per file read.
        files: ``bytes`` and ``sha256`` per file written.
        converter: "kuairand".
        format: Version of this record.
        unchanged: True if `prepare` found everything in place and wrote nothing. Not stored.
    """

    name: str
    read: dict[str, int]
    impressions: dict[str, int]
    disagreeing: dict[str, int]
    positives: dict[str, dict[str, int]]
    users: int
    items: int
    missing: dict[str, int]
    start_ms: int
    data_sha256: str
    sources: dict[str, str]
    files: dict[str, dict[str, int | str]]
    converter: str = "kuairand"
    format: int = FORMAT
    unchanged: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        state = "already prepared, nothing written" if self.unchanged else "prepared"
        lines = [f"{self.name}: {state}; {self.users:,} users, {self.items:,} videos"]
        for log, rows in self.impressions.items():
            labels = ", ".join(
                f"{n / rows:.2%} {label}" for label, n in self.positives[log].items()
            )
            lines.append(f"{log} log: {rows:,} impressions; {labels}")
        hashes = [f"{self.data_sha256}  data"]
        hashes += [f"{entry['sha256']}  {file}" for file, entry in self.files.items()]
        hashes += [f"{sha256}  {file}, read" for file, sha256 in self.sources.items()]
        lines += [f"SHA-256 {line}" for line in hashes]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes())])

    def notes(self) -> list[str]:
        """Returns the facts that a reader of the data should know, one sentence each."""
        notes = []
        for log, rows in self.impressions.items():
            if copies := self.read[log] - rows:
                notes.append(
                    f"{log} log: {copies:,} rows were copies of an impression and merged; "
                    f"{self.disagreeing[log]:,} impressions' copies differ in a label"
                )
        if self.missing:
            named = ", ".join(f"{name} of {n:,}" for name, n in self.missing.items())
            notes.append(f"features missing: {named}")
        return notes


def is_source(folder: str | Path) -> bool:
    """Returns whether a folder holds KuaiRand's files rather than a LightGCN split."""
    return any(Path(folder).glob("log_standard_*.csv"))


def prepare(
    name: str, source: str | Path, output: str | Path = "dataset", *, force: bool = False
) -> Manifest:
    """Converts KuaiRand's CSV files into ``output/name/``, ready for RecBole.

    Writes the files that the module's docstring lists, in time order, and then
    ``name.manifest.json``. If they are in place and were made from the same files, nothing is
    written.

    Args:
        name: The dataset's name. For kuairand-pure the published counts (``properties/dataset/``)
            are checked before anything is written.
        source: Folder with the CSV files.
        output: RecBole's ``data_path``.
        force: Whether to write even if the same data, or other data of this name, are in place.

    Returns:
        The manifest; its `Manifest.unchanged` says whether anything had to be written.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged (the message names the line and the column), the counts are
            not the published counts, or other data of this name are in place.
    """
    published = _published(name)
    paths = _find(Path(source))
    sources = {path.name: sha256_of(path) for group in paths.values() for path in group}
    folder = Path(output) / name
    if not force and (known := _intact(folder)):
        if known.sources == sources:
            return replace(known, unchanged=True)
        raise made_otherwise(folder, name, source)
    users = _Features(paths["users"][0], _USER_FIELDS)
    items = _Features(paths["videos"][0], _ITEM_FIELDS)
    logs = {log: _Log(paths[log], users, items) for log in ("standard", "random") if paths[log]}
    read = {log: rows.read for log, rows in logs.items()}
    read |= {"users": len(users.rows), "videos": len(items.rows)}
    _check_published(name, read, published, Path(source))
    files = {}
    texts = {f"{name}.inter": logs["standard"].atomic}
    if "random" in logs:
        texts[f"{name}.random.inter"] = logs["random"].atomic
    texts |= {f"{name}.user": users.atomic, f"{name}.item": items.atomic}
    with writing(folder):
        for file, text in texts.items():
            with atomic_path(folder / file) as temporary:
                temporary.write_text(text(), encoding="utf-8", newline="")
            files[file] = described(folder / file)
        for stale in {f"{name}.random.inter"} - set(files):  # of what ``force`` replaces
            (folder / stale).unlink(missing_ok=True)
        standard = logs["standard"]
        manifest = Manifest(
            name=name,
            read=read,
            impressions={log: len(rows.rows) for log, rows in logs.items()},
            disagreeing={log: rows.disagreeing for log, rows in logs.items()},
            positives={log: rows.positives() for log, rows in logs.items()},
            users=len(np.unique(standard.rows[:, _USER])),
            items=len(np.unique(standard.rows[:, _ITEM])),
            missing={**users.missing(), **items.missing()},
            start_ms=START_MS,
            data_sha256=combined(files),
            sources=sources,
            files=files,
        )
        stored = asdict(manifest)
        del stored["unchanged"]
        with atomic_path(folder / f"{name}.manifest.json") as temporary:
            temporary.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return manifest


class _Features:
    """Users or videos with their features, as tokens and numbers, in file order.

    Attributes:
        path: The file.
        fields: Type of every column, the id first.
        rows: Every row's values as text, the id first; "" for a missing value.
        ids: The ids as sorted numbers.
    """

    def __init__(self, path: Path, fields: dict[str, str]):
        self.path, self.fields, self.rows = path, fields, []
        id_field, lines = next(iter(fields)), {}
        for line, values in _rows(path, tuple(fields)):
            row = [
                _value(value, name, kind, path, line)
                for value, (name, kind) in zip(values, fields.items(), strict=True)
            ]
            number = _whole(values[0], id_field, path, line)
            if number in lines:
                raise _damaged(
                    path, line, f"{id_field} {number} is on line {lines[number]} already"
                )
            lines[number] = line
            self.rows.append([str(number), *row[1:]])
        self.ids = np.sort(np.fromiter(lines, dtype=np.int64))

    def missing(self) -> dict[str, int]:
        """Returns the number of rows that lack a feature, for each feature that a row lacks."""
        counts = {
            name: sum(not row[place] for row in self.rows) for place, name in enumerate(self.fields)
        }
        return {name: count for name, count in counts.items() if count}

    def atomic(self) -> str:
        """Returns the text of RecBole's file."""
        named = {"video_id": "item_id"}
        head = "\t".join(f"{named.get(name, name)}:{kind}" for name, kind in self.fields.items())
        return "\n".join([head, *("\t".join(row) for row in self.rows), ""])


class _Log:
    """The distinct impressions of one or more log files, in time order.

    Attributes:
        read: Rows of the files.
        rows: The impressions, int64, shape (N, 8); the columns are ``_LOG``.
        disagreeing: Number of impressions whose copies differ in a label.
    """

    def __init__(self, paths: list[Path], users: _Features, items: _Features):
        rows = np.concatenate([_read_log(path, users, items) for path in paths])
        self.read = len(rows)
        # Sorting places copies side by side, still in file order.
        rows = rows[np.lexsort((rows[:, _ITEM], rows[:, _USER], rows[:, _TIME]))]
        key = rows[:, [_USER, _ITEM, _TIME]]
        first = np.flatnonzero(np.append(True, (key[1:] != key[:-1]).any(1)))
        labels = rows[:, _FIRST_LABEL:]
        given, all_gave = (f.reduceat(labels, first) for f in (np.maximum, np.minimum))
        self.disagreeing = int((given != all_gave).any(1).sum())
        self.rows = rows[first]
        self.rows[:, _FIRST_LABEL:] = given

    def positives(self) -> dict[str, int]:
        """Returns, for each label, the number of impressions whose label is 1."""
        return dict(zip(LABELS, self.rows[:, _FIRST_LABEL:].sum(0).tolist(), strict=True))

    def atomic(self) -> str:
        """Returns the text of RecBole's file."""
        labels = "\t".join(f"{label}:float" for label in LABELS)
        head = f"user_id:token\titem_id:token\t{labels}\ttimestamp:float\ttab:token\n"
        seconds = ((self.rows[:, _TIME] - START_MS) / 1000).tolist()
        columns = [self.rows[:, place].tolist() for place in range(len(_LOG))]
        pattern = "%d\t%d\t" + "%d\t" * len(LABELS) + "%.3f\t%d\n"
        values = zip(
            columns[_USER],
            columns[_ITEM],
            *columns[_FIRST_LABEL:],
            seconds,
            columns[_TAB],
            strict=True,
        )
        return head + "".join(map(pattern.__mod__, values))


def _find(source: Path) -> dict[str, list[Path]]:
    """Returns the files to read; the name of the users' file tells the version of KuaiRand."""
    user_files = source.glob("user_features_*.csv")
    versions = [path.stem.removeprefix("user_features_") for path in user_files]
    if len(versions) > 1:
        raise ValueError(f"{source} holds several versions of KuaiRand: {sorted(versions)}")
    version = (versions or ["pure"])[0]
    parts = {
        "standard": ["log_standard_4_08_to_4_21", "log_standard_4_22_to_5_08"],
        "random": ["log_random_4_22_to_5_08"],
        "users": ["user_features"],
        "videos": ["video_features_basic"],
    }
    paths = {
        part: [source / f"{name}_{version}.csv" for name in names] for part, names in parts.items()
    }
    if not paths["random"][0].is_file():
        paths["random"] = []
    for path in (path for group in paths.values() for path in group):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; KuaiRand-Pure.tar.gz (zenodo.org/records/10439422) has it "
                "in its folder data"
            )
    return paths


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yields, for every row of a CSV file, the line number and the values of the wanted columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if absent := [name for name in columns if name not in header]:
                raise _damaged(
                    path, 1, f"no column {absent[0]!r}; the columns are {', '.join(header)}"
                )
            places = [header.index(name) for name in columns]
            for row in reader:
                if len(row) != len(header):
                    if not row:  # a blank line
                        continue
                    raise _damaged(
                        path,
                        reader.line_num,
                        f"{len(row)} values, expected {len(header)} as in the header",
                    )
                yield reader.line_num, [row[place] for place in places]
        except (csv.Error, UnicodeDecodeError) as error:
            raise _damaged(path, reader.line_num, f"not readable as CSV: {error}") from error


def _read_log(path: Path, users: _Features, items: _Features) -> np.ndarray:
    """Returns the rows of one log file, int64, shape (N, 8), in file order."""
    numbers, lines = array("q"), array("q")
    for line, values in _rows(path, _LOG):
        try:
            numbers.extend([int(value) for value in values])
        except (ValueError, OverflowError):
            for name, value in zip(_LOG, values, strict=True):
                _whole(value, name, path, line)
        lines.append(line)
    if not lines:
        raise ValueError(f"{path} holds no impression")
    rows = np.frombuffer(numbers, dtype=np.int64).reshape(-1, len(_LOG))

    def require(good: np.ndarray, place: int, problem: str) -> None:
        if not good.all():
            row = int(np.argmin(good))
            raise _damaged(path, lines[row], f"{_LOG[place]} {rows[row, place]} {problem}")

    require(np.isin(rows[:, _USER], users.ids), _USER, f"is not in {users.path}")
    require(np.isin(rows[:, _ITEM], items.ids), _ITEM, f"is not in {items.path}")
    require(rows[:, _TIME] > 0, _TIME, "is not a time; accepted are milliseconds since 1970")
    require(rows[:, _TAB] >= 0, _TAB, "is not a scene; accepted are whole numbers from 0")
    for place in range(_FIRST_LABEL, len(_LOG)):
        require(np.isin(rows[:, place], (0, 1)), place, "is not a label; accepted are 0 and 1")
    return rows


def _whole(value: str, name: str, path: Path, line: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise _damaged(path, line, f"{name} {value!r} is not a whole number from 0 to {2**63 - 1}")
    return number


def _value(value: str, name: str, kind: str, path: Path, line: int) -> str:
    """Returns a feature's value as it is written to RecBole's files; "" if it is missing."""
    value = value.strip()
    if value in _MISSING or value == _MISSING_OF.get(name):
        return ""
    if kind == "float":
        try:
            finite = math.isfinite(float(value))
        except ValueError:
            finite = False
        if not finite:
            raise _damaged(path, line, f"{name} {value!r} is not a number")
        return value
    if any(character in value for character in '\t\r\n"'):
        raise _damaged(path, line, f"{name} {value!r} holds a tab, a quote or a line's end")
    if kind == "token_seq":
        return " ".join(part.strip() for part in value.split(",") if part.strip())
    # A column of codes with gaps was written as numbers with a decimal point.
    return value[:-2] if value.endswith(".0") and value[:-2].isdigit() else value


def _damaged(path: Path, line: int, problem: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {problem}")


def _published(name: str) -> dict:
    """Returns the published counts in ``properties/dataset/name.yaml``; {} for an unknown name."""
    settings = dataset_settings(name)
    if settings and "kuairand" not in settings:
        raise ValueError(f"dataset {name!r} is not KuaiRand's; give the prepared data another name")
    return settings.get("kuairand", {})


def _check_published(name: str, read: dict[str, int], published: dict, source: Path) -> None:
    wrong = [
        f"{key} {read[key]:,} (expected {published[key]:,})"
        for key in _COUNTS
        if key in read and read[key] != published.get(key, read[key])
    ]
    if wrong:
        raise ValueError(
            f"{source} does not hold the rows of the published {name!r}: {', '.join(wrong)}; "
            "prepare it under another name"
        )


def verify(folder: str | Path) -> Manifest:
    """Checks a prepared KuaiRand against its manifest, byte for byte.

    Raises:
        FileNotFoundError: If there is no manifest.
        ValueError: If `prepare` did not write the manifest, or a file is missing or has changed.
    """
    folder = Path(folder)
    path = folder / f"{folder.name}.manifest.json"
    with reading(path):
        manifest = record_of(Manifest, read_json(path))
        if (manifest.converter, manifest.format) != ("kuairand", FORMAT):
            raise ValueError(f"it is of {manifest.converter} in format {manifest.format}")
        parts = ("inter", "random.inter", "user", "item")
        if not set(manifest.files) <= {f"{folder.name}.{part}" for part in parts}:
            raise ValueError(f"it lists the files {[*manifest.files]}")
        if combined(manifest.files) != manifest.data_sha256:
            raise ValueError("data_sha256 is not that of the files it lists")
    require_unchanged(folder, manifest.files)
    return manifest


def _intact(folder: Path) -> Manifest | None:
    """Returns the manifest of a complete preparation, or None."""
    try:
        return verify(folder)
    except (FileNotFoundError, ValueError):
        return None
