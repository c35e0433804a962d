"""LightGCN-format data: conversion, what is refused, what is dropped and said, what is verified."""

import errno
import gzip
import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from recbole_hill.config import properties as properties_path
from recbole_hill.data.prepare import lightgcn, prepared
from recbole_hill.data.prepare.lightgcn import prepare, verify

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
TRAIN = "0 10 11 12\n1 11\n2 12 10\n"
TEST = "0 13\n2 11 14\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.txt").write_text(TRAIN)
    (folder / "test.txt").write_text(TEST)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "dataset"


def read(path):
    lines = path.read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token"
    return [tuple(map(int, line.split("\t"))) for line in lines[1:]]


def publish(monkeypatch, tmp_path, **block):
    """Makes ``toy`` a dataset with a YAML of its own."""
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump({"lightgcn": block}))
    monkeypatch.setattr(prepared, "properties", lambda *parts: file)


def test_what_a_killed_process_left_is_removed(source, out):
    left = out / "toy" / ".toy.train.inter.abcd1234.tmp"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    prepare("toy", source, out)
    assert not left.exists()


# --- what is written -----------------------------------------------------------------------------


def test_writes_the_split_in_file_order_with_counts_and_hashes(source, out):
    manifest = prepare("toy", source, out)
    folder = out / "toy"
    assert sorted(p.name for p in folder.iterdir()) == [
        ".lock",
        "toy.manifest.json",
        "toy.test.inter",
        "toy.train.inter",
    ]
    assert read(folder / "toy.train.inter") == [
        (0, 10), (0, 11), (0, 12), (1, 11), (2, 12), (2, 10),
    ]  # fmt: skip
    assert read(folder / "toy.test.inter") == [(0, 13), (2, 11), (2, 14)]
    counts = (manifest.users, manifest.items, manifest.train, manifest.test)
    assert counts == (3, 5, 6, 3)
    assert manifest.items_only_in_test == 2  # 13 and 14
    assert not manifest.unchanged
    assert manifest.sources["train"] == {
        "file": "train.txt",
        "sha256": hashlib.sha256(TRAIN.encode()).hexdigest(),
    }
    hashes = []
    for name, entry in manifest.files.items():
        data = (folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        hashes.append(entry["sha256"])
    assert manifest.data_sha256 == hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    stored = json.loads((folder / "toy.manifest.json").read_text())
    assert stored["format"] == 1
    assert stored["data_sha256"] == manifest.data_sha256
    assert "unchanged" not in stored
    assert verify("toy", out) == verify(folder) == manifest


def test_against_a_slow_reference(tmp_path, out):
    rng = np.random.default_rng(0)
    source = tmp_path / "random"
    source.mkdir()
    expected = {}
    for split, n_lines in (("train", 60), ("test", 40)):
        pairs, text = [], ""
        users = np.r_[np.arange(20), rng.integers(20, size=n_lines)]  # several lines per user
        for user in users if split == "train" else users[20:]:
            items = rng.integers(30, size=rng.integers(1 if len(pairs) < 20 else 0, 6)).tolist()
            text += f"{user} {' '.join(map(str, items))}\n"
            pairs += [(int(user), item) for item in items]
        (source / f"{split}.txt").write_text(text)
        expected[split] = pairs
    kept = {split: list(dict.fromkeys(pairs)) for split, pairs in expected.items()}
    test = [pair for pair in kept["test"] if pair not in kept["train"]]
    manifest = prepare("toy", source, out)
    assert read(out / "toy" / "toy.train.inter") == kept["train"]
    assert read(out / "toy" / "toy.test.inter") == test
    for split in expected:
        assert manifest.duplicates[split] == len(expected[split]) - len(kept[split]) > 0
    assert manifest.test_seen_in_train == len(kept["test"]) - len(test) > 0


@pytest.mark.parametrize(
    "text",
    [
        TRAIN.replace("\n", "\r\n"),
        TRAIN.replace(" ", "\t"),
        TRAIN.replace("\n", " \n"),
        "\n" + TRAIN.replace("\n", "\n\n"),
        TRAIN.rstrip("\n"),
        TRAIN.replace("10", "0010"),
    ],
    ids=["crlf", "tabs", "trailing space", "blank lines", "no last newline", "leading zeros"],
)
def test_layout_of_whitespace_does_not_matter(source, out, text):
    plain = prepare("toy", source, out)
    (source / "train.txt").write_bytes(text.encode())
    other = prepare("toy", source, out, force=True)
    assert other.data_sha256 == plain.data_sha256
    assert other.lines_without_items == {"train": 0, "test": 0}
    assert other.sources["train"]["sha256"] != plain.sources["train"]["sha256"]


def test_gzip_gives_the_same_as_plain(source, out):
    plain = prepare("toy", source, out)
    (source / "train.txt.gz").write_bytes(gzip.compress(TRAIN.encode()))
    (source / "train.txt").unlink()
    packed = prepare("toy", source, out, force=True)
    assert packed.sources["train"]["file"] == "train.txt.gz"
    assert packed.sources["train"]["sha256"] == plain.sources["train"]["sha256"]
    assert packed.data_sha256 == plain.data_sha256


def test_split_hash_ignores_order_and_data_hash_does_not(source, out):
    first = prepare("toy", source, out)
    (source / "train.txt").write_text("2 10 12\n1 11\n0 12 11 10\n")
    sorted_differently = prepare("toy", source, out, force=True)
    assert sorted_differently.split_sha256 == first.split_sha256
    assert sorted_differently.data_sha256 != first.data_sha256
    (source / "train.txt").write_text(TRAIN.replace("1 11", "1 12"))
    assert prepare("toy", source, out, force=True).split_sha256 != first.split_sha256
    # A pair that moves from test to train is another split of the same pairs.
    (source / "train.txt").write_text(TRAIN + "2 14\n")
    (source / "test.txt").write_text("0 13\n2 11\n")
    assert prepare("toy", source, out, force=True).split_sha256 != first.split_sha256


# --- running it again ----------------------------------------------------------------------------


def stamps(folder):
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}


def test_again_is_a_no_op_that_says_so(source, out):
    first = prepare("toy", source, out)
    before = stamps(out / "toy")
    again = prepare("toy", source, out)
    assert again.unchanged
    assert again == first
    assert stamps(out / "toy") == before
    assert not prepare("toy", source, out, force=True).unchanged
    assert stamps(out / "toy") != before


@pytest.mark.parametrize("file", ["toy.train.inter", "toy.test.inter", "toy.manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "short", "garbage"])
def test_a_half_written_folder_is_written_again(source, out, file, damage):
    first = prepare("toy", source, out)
    path = out / "toy" / file
    if damage == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-9] if damage == "short" else b"\xff" + data[1:])
    again = prepare("toy", source, out)
    assert not again.unchanged
    assert again == first == verify("toy", out)


def test_other_data_of_that_name_are_not_replaced_unasked(source, out):
    first = prepare("toy", source, out)
    (source / "test.txt").write_text("0 14\n")
    with pytest.raises(ValueError, match=r"dataset/toy holds 'toy' made from other files.*force"):
        prepare("toy", source, out)
    assert verify("toy", out) == first
    assert prepare("toy", source, out, force=True).test == 1


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_full_disk_leaves_nothing_that_passes_for_finished(source, out, monkeypatch, failing):
    calls = []

    @contextmanager
    def full(path):
        calls.append(path)
        if len(calls) > failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        with lightgcn_atomic(path) as temporary:
            yield temporary

    lightgcn_atomic = lightgcn.atomic_path
    monkeypatch.setattr(lightgcn, "atomic_path", full)
    with pytest.raises(OSError, match="No space left"):
        prepare("toy", source, out)
    with pytest.raises(FileNotFoundError):
        verify("toy", out)
    monkeypatch.undo()
    assert not prepare("toy", source, out).unchanged
    assert verify("toy", out).train == 6


# --- what is dropped, and said -------------------------------------------------------------------


def test_duplicates_are_counted_dropped_and_said(source, out):
    (source / "train.txt").write_text("0 10 11 10 12\n1 11\n2 12 10\n0 11\n")
    (source / "test.txt").write_text(TEST + "2 14 14\n")
    manifest = prepare("toy", source, out)
    assert manifest.duplicates == {"train": 2, "test": 2}
    assert read(out / "toy" / "toy.train.inter")[:3] == [(0, 10), (0, 11), (0, 12)]
    assert (manifest.train, manifest.test) == (6, 3)
    assert "train.txt: 2 repeated pairs dropped, the first kept" in manifest.notes()


def test_test_pairs_seen_in_train_are_dropped_and_said(source, out):
    (source / "test.txt").write_text("0 13 11\n2 10 12 14\n")
    manifest = prepare("toy", source, out)
    assert manifest.test_seen_in_train == 3
    assert read(out / "toy" / "toy.test.inter") == [(0, 13), (2, 14)]
    assert "3 test pairs dropped because they are in train too" in manifest.notes()


def test_lines_without_items_are_said(source, out):
    (source / "train.txt").write_text("7\n1\n" + TRAIN + "5\n")
    (source / "test.txt").write_text(TEST + "1\n5 \n")
    manifest = prepare("toy", source, out)
    assert manifest.users_without_train == [5, 7]  # user 1 has items on another line
    assert manifest.lines_without_items == {"train": 3, "test": 2}
    assert manifest.users == 3
    assert "2 users have no train item" in manifest.notes()
    assert "test.txt: 2 lines hold a user and no item" in manifest.notes()


def test_clean_data_has_no_notes(source, out):
    (source / "test.txt").write_text("1 12\n")
    assert prepare("toy", source, out).notes() == []


def test_printed_with_counts_hashes_and_notes(source, out):
    first, again = prepare("toy", source, out), prepare("toy", source, out)
    text = str(first)
    assert text.startswith("toy: prepared; 3 users, 5 items, 6 train and 3 test pairs\n")
    assert str(again).startswith("toy: already prepared, nothing written; 3 users")
    hashes = [first.data_sha256, first.split_sha256]
    hashes += [e["sha256"] for e in (*first.files.values(), *first.sources.values())]
    assert all(f"SHA-256 {digest}" in text for digest in hashes)
    assert text.endswith("note: 2 items occur in test only")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1 2 x3 4", "'x3' is not an id"),
        ("1 2.5", "'2.5' is not an id"),
        ("1,2,3", "'1,2,3' is not an id"),
        ("1 1_0", "'1_0' is not an id"),
        ("1 +2", r"'\+2' is not an id"),
        ("1 ٣", "'٣' is not an id"),
        ("1 2\x0b3", r"'2\\x0b3' is not an id"),
        ("1 -2 4", "id -2 is negative"),
        ("-1 2", "id -1 is negative"),
        ("1 2147483648", "id 2147483648 is too large"),
        ("1 10000000001", "id 10000000001 is too large"),
        ("99999999999999999999999 1", "id 99999999999999999999999 is too large"),
        ("1 18446744073709551617", "id 18446744073709551617 is too large"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_malformed_line(source, out, split, line, problem):
    (source / f"{split}.txt").write_text(f"0 10\n2 11\n\n{line}\n1 5\n", encoding="utf-8")
    accepted = "accepted is .* whole numbers from 0 to 2147483647"
    with pytest.raises(ValueError, match=rf"{split}\.txt, line 4: {problem}; {accepted}"):
        prepare("toy", source, out)
    assert not out.exists()


def test_largest_id_is_kept(source, out):
    (source / "train.txt").write_text(TRAIN + "2147483647 2147483647\n")
    prepare("toy", source, out)
    assert read(out / "toy" / "toy.train.inter")[-1] == (2**31 - 1, 2**31 - 1)


def test_long_garbage_is_shortened(source, out):
    (source / "train.txt").write_text("0 " + "z" * 100_000)
    with pytest.raises(ValueError, match="line 1") as error:
        prepare("toy", source, out)
    assert len(str(error.value)) < 400


def test_missing_file_names_both_candidates(source, out):
    (source / "test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt nor .*test\.txt\.gz .*LightGCN"):
        prepare("toy", source, out)


@pytest.mark.parametrize("text", ["", "\n \n"])
@pytest.mark.parametrize("packed", [False, True])
def test_empty_file(source, out, text, packed):
    if packed:
        (source / "train.txt").unlink()
        (source / "train.txt.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (source / "train.txt").write_text(text)
    with pytest.raises(ValueError, match=r"train\.txt(\.gz)? is empty"):
        prepare("toy", source, out)


def test_users_but_no_item(source, out):
    (source / "test.txt").write_text("0\n1\n")
    with pytest.raises(ValueError, match=r"test\.txt holds users but not one item"):
        prepare("toy", source, out)


def test_nothing_left_to_test(source, out):
    (source / "test.txt").write_text("0 10\n1 11\n")
    with pytest.raises(ValueError, match=r"test\.txt: every pair is in .*train\.txt too"):
        prepare("toy", source, out)


@pytest.mark.parametrize("damage", ["not gzip", "truncated", "flipped", "garbage"])
def test_corrupt_gzip(source, out, damage):
    data = gzip.compress(TRAIN.encode() * 50)
    middle = len(data) // 2
    damaged = {
        "not gzip": TRAIN.encode(),
        "truncated": data[:middle],
        "garbage": data[:10] + b"\xff" * 20,
        "flipped": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
    }[damage]
    (source / "train.txt").unlink()
    (source / "train.txt.gz").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"train\.txt\.gz is not an intact gzip file: .+"):
        prepare("toy", source, out)


def test_test_users_without_train_items_are_counted_and_said(source, out):
    (source / "train.txt").write_text(TRAIN + "8\n")
    (source / "test.txt").write_text("0 13\n")
    split_sha256 = prepare("toy", source, out / "warm").split_sha256
    (source / "test.txt").write_text("0 13\n\n8 10 11\n9 10\n")
    manifest = prepare("toy", source, out)
    assert manifest.split_sha256 == split_sha256
    assert (manifest.cold_test_users, manifest.cold_test_pairs) == ([8, 9], 3)
    assert (manifest.users, manifest.test, manifest.test_seen_in_train) == (3, 1, 0)
    assert read(out / "toy" / "toy.test.inter") == [(0, 13), (8, 10), (8, 11), (9, 10)]
    said = (
        "2 test users have no train item; a run leaves out their 3 test pairs unless "
        "cold_test_users is rank"
    )
    assert said in manifest.notes()
    assert verify("toy", out) == manifest
    (source / "test.txt").write_text("9 10\n")
    with pytest.raises(ValueError, match=r"test\.txt: every pair is in .*nothing is left to test"):
        prepare("toy", source, out / "other")
    assert not (out / "other").exists()


@pytest.mark.parametrize("name", ["", "../toy", "a/b", ".hidden", "two words"])
def test_names_that_are_no_folder_name(source, out, name):
    with pytest.raises(ValueError, match="dataset name must be"):
        prepare(name, source, out)


# --- known datasets ------------------------------------------------------------------------------


def test_published_counts_are_checked_before_anything_is_written(source, out):
    expected = (
        r"users 3 \(expected 52,643\), items 5 \(expected 91,599\), "
        r"train 6 \(expected 2,380,730\), test 3 \(expected 603,378\)"
    )
    with pytest.raises(ValueError, match=f"not the published split of 'amazon-book': {expected}"):
        prepare("amazon-book", source, out)
    assert not out.exists()


def test_only_the_wrong_counts_are_listed(source, out, monkeypatch, tmp_path):
    publish(monkeypatch, tmp_path, users=3, items=5, train=7, test=3)
    with pytest.raises(ValueError, match=r"'toy': train 6 \(expected 7\);"):
        prepare("toy", source, out)


def test_published_pairs_are_checked(source, out, monkeypatch, tmp_path):
    truth = prepare("toy", source, out).split_sha256
    publish(monkeypatch, tmp_path, users=3, items=5, train=6, test=3, split_sha256=truth)
    assert prepare("toy", source, out, force=True).split_sha256 == truth
    (source / "test.txt").write_text("0 13\n1 10\n2 14\n")  # the same counts
    with pytest.raises(ValueError, match=rf"published counts of 'toy' but other pairs.*{truth}"):
        prepare("toy", source, out, force=True)


def test_published_md5_is_recorded_and_a_difference_said(source, out, monkeypatch, tmp_path):
    md5 = hashlib.md5(TRAIN.encode()).hexdigest()
    publish(monkeypatch, tmp_path, users=3, md5_train=md5, md5_test="0" * 32)
    manifest = prepare("toy", source, out)
    assert manifest.sources["train"]["md5"] == manifest.sources["train"]["md5_published"] == md5
    assert manifest.sources["test"]["md5"] == hashlib.md5(TEST.encode()).hexdigest()
    assert [note for note in manifest.notes() if "md5" in note] == [
        f"test.txt: md5 {manifest.sources['test']['md5']} is not the published {'0' * 32}: "
        "another copy, or another split"
    ]


def test_ml100k_is_not_prepared(source, out):
    with pytest.raises(ValueError, match="'ml-100k' has no LightGCN-format files"):
        prepare("ml-100k", source, out)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("gowalla", (29_858, 40_981, 810_128, 217_242)),
        ("yelp2018", (31_668, 38_048, 1_237_259, 324_147)),
        ("amazon-book", (52_643, 91_599, 2_380_730, 603_378)),
    ],
)
def test_dataset_yaml(name, counts):
    text = properties_path.properties("dataset", f"{name}.yaml").read_text()
    settings = yaml.safe_load(text)
    block = settings["lightgcn"]
    assert tuple(block[key] for key in ("users", "items", "train", "test")) == counts
    assert settings["load_col"] == {"inter": ["user_id", "item_id"]}
    assert settings["benchmark_filename"] == ["train", "test"]
    users, items, total = counts[0], counts[1], counts[2] + counts[3]
    density = f"{100 * total / users / items:.3f}".lstrip("0")
    assert f"{users:,} users, {items:,} items, {total:,} interactions" in text
    assert f"density {density} %" in text


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("gowalla", (29_858, 40_981, 810_128, 217_242)),
        pytest.param("yelp2018", (31_668, 38_048, 1_237_259, 324_147), marks=pytest.mark.slow),
    ],
)
def test_real_data(out, name, counts):
    if not (REAL / name).is_dir():
        pytest.skip(f"{REAL / name} is not here")
    manifest = prepare(name, REAL / name, out)
    assert (manifest.users, manifest.items, manifest.train, manifest.test) == counts
    assert manifest.notes() == []
    for split in ("train", "test"):
        with gzip.open(REAL / name / f"{split}.txt.gz", "rt") as file:
            rows = [line.split() for line in file]
        expected = [f"{row[0]}\t{item}" for row in rows for item in row[1:]]
        written = (out / name / f"{name}.{split}.inter").read_text().splitlines()
        assert written[1:] == expected


# --- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["toy.train.inter", "toy.test.inter"])
def test_verify_names_the_file_that_changed(source, out, file):
    prepare("toy", source, out)
    path = out / "toy" / file
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1", b"2", 1))
    with pytest.raises(ValueError, match=rf"{file} has changed .*SHA-256"):
        verify("toy", out)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"{file} has changed .*bytes, expected {len(data)}"):
        verify("toy", out)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{file} is missing"):
        verify("toy", out)


def test_verify_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a prepared dataset"):
        verify("nowhere", tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 99}, "format 99, expected 1"),
        ({"name": "other"}, "it is of dataset 'other'"),
        ({"files": {"../../secret": {"bytes": 1, "sha256": "0"}}}, "it lists the files"),
        ({"data_sha256": "0"}, "data_sha256 is not that"),
        ({"sources": {"train": {}, "test": {}}}, "a size or hash is missing"),
        ({"surprise": 1}, "surprise"),
        ({"users": "three"}, "users is 'three'"),
        ({"items": True}, "items is True"),
        ({"users_without_train": [1, None]}, r"users_without_train is \[1, None\]"),
        ({"duplicates": {"train": 0.5}}, "duplicates is {'train': 0.5}"),
    ],
)
def test_verify_refuses_a_manifest_that_prepare_did_not_write(source, out, change, problem):
    prepare("toy", source, out)
    path = out / "toy" / "toy.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"toy\.manifest\.json is not a manifest.*{problem}"):
        verify("toy", out)


def test_unchanged_is_not_part_of_identity(source, out):
    manifest = prepare("toy", source, out)
    assert replace(manifest, unchanged=True) == manifest


# --- where the YAML files are --------------------------------------------------------------------


def test_installed_folder_wins_over_the_checkout(tmp_path, monkeypatch):
    beside = properties_path.properties("dataset", "gowalla.yaml")
    assert beside.is_file()
    assert properties_path.tuning().name == "tuning"
    (tmp_path / "properties" / "dataset").mkdir(parents=True)
    monkeypatch.setattr(properties_path, "files", lambda package: tmp_path)
    inside = properties_path.properties("dataset", "gowalla.yaml")
    assert inside == tmp_path / "properties" / "dataset" / "gowalla.yaml"
    monkeypatch.setattr(properties_path, "__file__", str(tmp_path / "x" / "properties_path.py"))
    with pytest.raises(FileNotFoundError, match=r"folder tuning/ .* reinstall"):
        properties_path.tuning("HILL.yaml")
