"""Converts LightGCN-format splits (``train.txt``, ``test.txt``) into RecBole's atomic files.

The split is kept. A line of a LightGCN file is a user id, followed by the ids of the user's items.
A manifest beside the two atomic files records the counts, the hashes of the files read and written,
and everything that was dropped, so that a result row can name the exact data behind it.
"""

import gzip
import hashlib
import json
import re
import zlib
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
from recbole_hill.run.files import atomic_path
from recbole_hill.run.own_files import read_json

FORMAT = 1
SPLITS = ("train", "test")
MAX_ID = 2**31 - 1

_COUNTS = ("users", "items", "train", "test")
_ACCEPTED = f"accepted is a user id and its item ids, whole numbers from 0 to {MAX_ID}"
_SPACE, _DIGIT = 1, 2
_KIND = np.zeros(256, dtype=np.uint8)  # of every byte; 0 is neither space nor digit
_KIND[list(b" \t\r\n")] = _SPACE
_KIND[list(b"0123456789")] = _DIGIT


@dataclass(frozen=True)
class Manifest:
    """A record of a prepared dataset.

    Attributes:
        name: The dataset's name, which is also its folder's.
        users: Distinct users with at least one train item.
        items: Distinct items of train and test together, without ``cold_test_users``.
        train: Pairs written to the train file.
        test: Pairs written to the test file, without ``cold_test_pairs``.
        data_sha256: Hash of the two written files; it depends on the order of lines.
        split_sha256: Hash of the pairs that ``train`` and ``test`` count. A copy with its lines or
            items in another order has the same hash.
        sources: Per split the ``file`` read and the ``sha256`` of its decompressed bytes. If an md5
            is published, also ``md5`` and ``md5_published``.
        files: ``bytes`` and ``sha256`` per file written.
        duplicates: Per split the number of repeated pairs that were dropped; the first one stays.
        lines_without_items: Per split the number of lines with a user id and no item.
        users_without_train: Users who have a train line but no train item.
        test_seen_in_train: Test pairs that were dropped because they are train pairs, too.
            Evaluation masks the items that a user has seen, so these pairs could never be found.
        items_only_in_test: Items that no train pair mentions; they stay.
        cold_test_users: Test users without a train item. Nothing is known of them to rank by; the
            setting ``cold_test_users`` says what a run does with them.
        cold_test_pairs: Test pairs of these users.
        cold_test_kept: Whether the test file has these pairs; older versions left them out.
        format: Version of this record.
        unchanged: True if `prepare` found everything in place and wrote nothing. Not stored.
    """

    name: str
    users: int
    items: int
    train: int
    test: int
    data_sha256: str
    split_sha256: str
    sources: dict[str, dict[str, str]]
    files: dict[str, dict[str, int | str]]
    duplicates: dict[str, int]
    lines_without_items: dict[str, int]
    users_without_train: list[int]
    test_seen_in_train: int
    items_only_in_test: int
    cold_test_users: list[int] = field(default_factory=list)
    cold_test_pairs: int = 0
    cold_test_kept: bool = False
    format: int = FORMAT
    unchanged: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        state = "already prepared, nothing written" if self.unchanged else "prepared"
        counts = (
            f"{self.users:,} users, {self.items:,} items, {self.train:,} train and "
            f"{self.test:,} test pairs"
        )
        hashes = [f"{self.data_sha256}  data", f"{self.split_sha256}  split, whatever its order"]
        hashes += [f"{entry['sha256']}  {file}" for file, entry in self.files.items()]
        hashes += [f"{entry['sha256']}  {entry['file']}, read" for entry in self.sources.values()]
        lines = [f"SHA-256 {line}" for line in hashes] + [f"note: {note}" for note in self.notes()]
        return "\n".join([f"{self.name}: {state}; {counts}", *lines])

    def notes(self) -> list[str]:
        """Returns what a reader of the data should know, one sentence each; [] for clean data."""
        notes = []
        for split in SPLITS:
            source = self.sources[split]
            if n := self.duplicates[split]:
                notes.append(f"{source['file']}: {n:,} repeated pairs dropped, the first kept")
            if n := self.lines_without_items[split]:
                notes.append(f"{source['file']}: {n:,} lines hold a user and no item")
            if source.get("md5") != source.get("md5_published"):
                notes.append(
                    f"{source['file']}: md5 {source['md5']} is not the published "
                    f"{source['md5_published']}: another copy, or another split"
                )
        if n := self.test_seen_in_train:
            notes.append(f"{n:,} test pairs dropped because they are in train too")
        if self.cold_test_users:
            notes.append(
                f"{len(self.cold_test_users):,} test users have no train item; a run leaves out "
                f"their {self.cold_test_pairs:,} test pairs unless cold_test_users is rank"
            )
        if self.users_without_train:
            notes.append(f"{len(self.users_without_train):,} users have no train item")
        if n := self.items_only_in_test:
            notes.append(f"{n:,} items occur in test only")
        return notes


def prepare(
    name: str, source: str | Path, output: str | Path = "dataset", *, force: bool = False
) -> Manifest:
    """Converts a LightGCN-format split into ``output/name/``, ready for RecBole.

    Writes ``name.train.inter`` and ``name.test.inter`` (in file order), and then
    ``name.manifest.json``. If they are in place and were made from the same source, nothing is
    written. A half-written or damaged folder is written again.

    Args:
        name: The dataset's name. For gowalla, yelp2018 and amazon-book the published counts
            (``properties/dataset/``) are checked before anything is written.
        source: Folder with ``train.txt`` and ``test.txt``, each plain or as ``.gz``; the plain file
            is read if both are there. Blank lines are skipped.
        output: RecBole's ``data_path``.
        force: Whether to write even if the same data, or other data of this name, are in place.

    Returns:
        The manifest; its `Manifest.unchanged` says whether anything had to be written.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, empty or malformed, no test pair is left, the counts are
            not the published counts, or other data of this name are in place.
    """
    published = _published(name)
    raw = {split: _read(Path(source), split) for split in SPLITS}
    sources = {split: _describe(*raw[split], published.get(f"md5_{split}")) for split in SPLITS}
    folder = Path(output) / name
    if not force and (known := _intact(folder)):
        if any(known.sources[s]["sha256"] != sources[s]["sha256"] for s in SPLITS):
            raise made_otherwise(folder, name, source)
        if known.cold_test_kept or not known.cold_test_users:
            return replace(known, unchanged=True)
    splits = {split: _Split(data, path) for split, (path, data) in raw.items()}
    manifest = _join(name, sources, splits["train"], splits["test"])
    _check_published(manifest, published, Path(source))
    with writing(folder):
        files = {}
        for split in SPLITS:
            path = folder / f"{name}.{split}.inter"
            with atomic_path(path) as temporary:
                temporary.write_bytes(_atomic(splits[split]))
            files[path.name] = described(path)
        manifest = replace(manifest, files=files, data_sha256=combined(files))
        stored = asdict(manifest)
        del stored["unchanged"]
        with atomic_path(folder / f"{name}.manifest.json") as temporary:
            temporary.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return manifest


def verify(folder_or_name: str | Path, output: str | Path = "dataset") -> Manifest:
    """Checks a prepared dataset against its manifest, byte for byte.

    Args:
        folder_or_name: A name under ``output``, or the dataset's folder itself.
        output: RecBole's ``data_path``.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: If there is no such dataset.
        ValueError: If a file is missing or has changed since it was prepared; the message names it.
    """
    for folder in (Path(output) / folder_or_name, Path(folder_or_name).resolve()):
        path = folder / f"{folder.name}.manifest.json"
        if path.is_file():
            break
    else:
        raise FileNotFoundError(
            f"{folder_or_name} is not a prepared dataset: neither {Path(output) / folder_or_name} "
            f"nor {folder} has a manifest; run: run_recbole_hill.py prepare NAME --source=DIR"
        )
    manifest = _load(path)
    require_unchanged(folder, manifest.files)
    return manifest


class _Split:
    """The distinct pairs of one file, in file order.

    Attributes:
        path: The file.
        users: User of every pair, shape (E,), int64.
        items: Item of every pair, shape (E,), int64.
        duplicates: Number of repeated pairs that were dropped.
        idle_users: User of every line without items.
    """

    def __init__(self, data: bytes, path: Path):
        self.path = path
        ids, lines = _parse(data, path)
        if not len(ids):
            raise ValueError(f"{path} is empty; {_ACCEPTED} on every line")
        heads = np.flatnonzero(np.diff(lines, prepend=0))
        lengths = np.diff(heads, append=len(ids)) - 1  # items per line
        is_item = np.ones(len(ids), dtype=bool)
        is_item[heads] = False
        self.users = np.repeat(ids[heads], lengths)
        self.items = ids[is_item]
        self.idle_users = ids[heads[lengths == 0]]
        if not len(self.items):
            raise ValueError(f"{path} holds users but not one item; {_ACCEPTED} on every line")
        first = np.unique(self.keys, return_index=True)[1]
        self.duplicates = len(self.items) - len(first)
        self.keep(np.sort(first))

    @property
    def keys(self) -> np.ndarray:
        """One number per pair, shape (E,); both ids fit in 31 bits."""
        return (self.users << 31) | self.items

    def keep(self, which: np.ndarray) -> None:
        """Keeps the pairs that an index array or a mask selects."""
        self.users, self.items = self.users[which], self.items[which]


def _parse(data: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns every number of a text, and its line counted from 1, both int64."""
    text = np.frombuffer(data, dtype=np.uint8)
    kind = _KIND[text]
    if not kind.all():
        _refuse(data, int(np.argmin(kind)), path)
    # A number is a run of digits: it starts and ends where "is a digit" flips.
    flips = np.flatnonzero(np.diff(kind == _DIGIT, prepend=False, append=False))
    starts, ends = flips[::2], flips[1::2]
    lengths = ends - starts
    ids = np.zeros(len(starts), dtype=np.int64)
    for place in range(min(lengths.max(initial=0), 10)):
        has = np.flatnonzero(lengths > place)
        ids[has] += (text[ends[has] - 1 - place].astype(np.int64) - ord("0")) * 10**place
    if (overflow := (lengths > 10) | (ids > MAX_ID)).any():
        _refuse(data, int(starts[np.argmax(overflow)]), path)
    lines = np.searchsorted(np.flatnonzero(text == ord("\n")), starts) + 1
    return ids, lines


def _refuse(data: bytes, position: int, path: Path) -> None:
    """Raises the error for the word that holds the byte at ``position``."""
    start = data.rfind(b"\n", 0, position) + 1
    line = data.count(b"\n", 0, position) + 1
    words = re.finditer(rb"[^ \t\r\n]+", data[start : position + 64])
    word = next(w.group() for w in words if start + w.end() > position)
    shown = word[:40].decode("utf-8", "replace")
    if re.fullmatch(rb"-\d+", word):
        problem = f"id {shown} is negative"
    elif word.isdigit():
        problem = f"id {shown} is too large"
    else:
        problem = f"{shown!r} is not an id"
    raise ValueError(f"{path}, line {line}: {problem}; {_ACCEPTED}, separated by spaces")


def _read(source: Path, split: str) -> tuple[Path, bytes]:
    """Returns the path and decompressed bytes of one split's file."""
    plain, packed = source / f"{split}.txt", source / f"{split}.txt.gz"
    if plain.is_file():
        return plain, plain.read_bytes()
    if not packed.is_file():
        raise FileNotFoundError(
            f"neither {plain} nor {packed} exists; the LightGCN splits of Gowalla, Yelp2018 and "
            "Amazon-Book are published in the data folder of the LightGCN authors' code "
            "repository (He et al., SIGIR 2020)"
        )
    try:
        return packed, gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{packed} is not an intact gzip file: {error}") from error


def _describe(path: Path, data: bytes, md5_published: str | None) -> dict[str, str]:
    described = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
    if md5_published:
        described["md5"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        described["md5_published"] = md5_published
    return described


def _join(name: str, sources: dict, train: _Split, test: _Split) -> Manifest:
    """Drops test pairs that train has, and describes the splits."""
    seen = np.isin(test.keys, train.keys)
    test.keep(~seen)
    cold = ~np.isin(test.users, train.users)
    warm_items = test.items[~cold]
    if not len(warm_items):
        raise ValueError(
            f"{test.path}: every pair is in {train.path} too, or of a user without an item there; "
            "nothing is left to test"
        )
    train_items, test_items = np.unique(train.items), np.unique(warm_items)
    digest = hashlib.sha256()
    for keys in (train.keys, test.keys[~cold]):
        digest.update(len(keys).to_bytes(8, "little"))
        digest.update(np.sort(keys).astype("<i8").tobytes())
    return Manifest(
        name=name,
        users=len(np.unique(train.users)),
        items=len(np.union1d(train_items, test_items)),
        train=len(train.items),
        test=len(warm_items),
        data_sha256="",
        split_sha256=digest.hexdigest(),
        sources=sources,
        files={},
        duplicates={"train": train.duplicates, "test": test.duplicates},
        lines_without_items={"train": len(train.idle_users), "test": len(test.idle_users)},
        users_without_train=np.setdiff1d(train.idle_users, train.users).tolist(),
        test_seen_in_train=int(seen.sum()),
        items_only_in_test=len(np.setdiff1d(test_items, train_items)),
        cold_test_users=np.unique(test.users[cold]).tolist(),
        cold_test_pairs=int(cold.sum()),
        cold_test_kept=bool(cold.any()),
    )


def _published(name: str) -> dict:
    """Returns the published facts of a split in ``properties/dataset/name.yaml``; {} if unknown."""
    settings = dataset_settings(name)
    if settings and "lightgcn" not in settings:
        raise ValueError(
            f"dataset {name!r} has no LightGCN-format files to prepare: RecBole reads it from "
            "elsewhere; give the prepared data another name"
        )
    return settings.get("lightgcn", {})


def _check_published(manifest: Manifest, published: dict, source: Path) -> None:
    wrong = [
        f"{key} {getattr(manifest, key):,} (expected {published[key]:,})"
        for key in _COUNTS
        if key in published and getattr(manifest, key) != published[key]
    ]
    if wrong:
        raise ValueError(
            f"{source} is not the published split of {manifest.name!r}: {', '.join(wrong)}; "
            "prepare it under another name"
        )
    expected = published.get("split_sha256", manifest.split_sha256)
    if manifest.split_sha256 != expected:
        raise ValueError(
            f"{source} has the published counts of {manifest.name!r} but other pairs: "
            f"split_sha256 {manifest.split_sha256}, expected {expected}; "
            "prepare it under another name"
        )


def _atomic(split: _Split) -> bytes:
    """Returns a RecBole ``.inter`` file with the pairs of a split."""
    pairs = zip(split.users.tolist(), split.items.tolist(), strict=True)
    body = "".join([f"{user}\t{item}\n" for user, item in pairs])
    return b"user_id:token\titem_id:token\n" + body.encode("ascii")


def _intact(folder: Path) -> Manifest | None:
    """Returns the manifest of a complete preparation, or None."""
    try:
        return verify(folder.name, folder.parent)
    except (FileNotFoundError, ValueError):
        return None


def _load(path: Path) -> Manifest:
    """Reads a manifest without trusting any entry of it that is used to find files."""
    name = path.parent.name
    with reading(path):
        stored = read_json(path)
        if stored["format"] != FORMAT:
            raise ValueError(f"format {stored['format']!r}, expected {FORMAT}")
        manifest = record_of(Manifest, stored)
        if manifest.name != name:
            raise ValueError(f"it is of dataset {manifest.name!r}")
        if [*manifest.files] != [f"{name}.{split}.inter" for split in SPLITS]:
            raise ValueError(f"it lists the files {[*manifest.files]}")
        if any("bytes" not in entry for entry in manifest.files.values()) or any(
            "sha256" not in manifest.sources[split] for split in SPLITS
        ):
            raise ValueError("a size or hash is missing")
        if combined(manifest.files) != manifest.data_sha256:
            raise ValueError("data_sha256 is not that of the files it lists")
    return manifest
