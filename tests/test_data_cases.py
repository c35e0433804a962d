"""Data that real files hold: ids that look missing, repeated rows, close times, full users."""

import json
import logging
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from recbole_hill.cli import main
from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.labelled.stream import slices_of
from recbole_hill.pipeline import run
from recbole_hill.report.lines import difference_notes, line_of, provenance_notes
from recbole_hill.serve.loaded_run import LoadedRun

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
LAST_TWO = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
FAST = {"epochs": 1, "topk": [3], "valid_metric": "NDCG@3", "show_progress": False, "threads": 1}


@pytest.fixture
def write(in_tmp):
    """Writes a file of the dataset ``d``: ``write(rows)``, ``write(rows, "train")``."""

    def write(rows: list[tuple], part: str = "") -> Path:
        path = in_tmp / "dataset" / "d" / ".".join(filter(None, ("d", part, "inter")))
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(map(str, row)) for row in rows]
        names = HEADER.split("\t")[: len(rows[0])]
        path.write_text("\n".join(["\t".join(names), *lines]) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def said(caplog):
    """Returns a function that gives the log's text so far."""
    caplog.set_level(logging.INFO)
    return lambda: caplog.text


def config(model: str = "BPR", **settings) -> HillConfig:
    return HillConfig(model, "d", None, {**FAST, "state": "INFO", **settings})


def parts(data) -> list[list[tuple[str, str]]]:
    """Returns the <user, item> pairs of the three parts."""
    return [pairs(loader._dataset) for loader in (data.train, data.valid, data.test)]


def pairs(dataset) -> list[tuple[str, str]]:
    ids = (
        dataset.field2id_token[field][dataset.inter_feat[field].numpy()].tolist()
        for field in (dataset.uid_field, dataset.iid_field)
    )
    return list(zip(*ids, strict=True))


def grid(users: list[str], n_items: int = 8, step: int = 1) -> list[tuple]:
    """Returns rows of users with three quarters of the items each, at rising times."""
    chosen = [
        (user, f"i{item}")
        for number, user in enumerate(users)
        for item in range(n_items)
        if (item + number) % 4
    ]
    return [(*pair, 4, 1_700_000_000 + step * at) for at, pair in enumerate(chosen)]


# --- ids -----------------------------------------------------------------------------------------


def test_ids_that_look_missing_are_ids(write):
    users = ["NA", "null", "None", "nan", "NaN", "N/A", "-", " ", '"7 inch', "12'", "u"]
    rows = grid(users)
    write(rows)
    found = [pair for part in parts(load_data(config())) for pair in part]
    assert sorted(found) == sorted((user, item) for user, item, *_ in rows)


@pytest.mark.parametrize("files", [[""], ["train", "test"]])
def test_only_rows_with_an_empty_id_are_removed_and_named(write, said, files):
    rows = grid(["u", "v", "w"])
    whole = [*rows[:2], ("", "i1", 4, 1), *rows[2:6], ("v", "", 4, 1), *rows[6:]]
    cut = [(part, whole) for part in files]
    if len(files) == 2:
        rows_of_test = [(u, "other", r, t) for u, _, r, t in rows[::6]]
        cut[1] = ("test", rows_of_test)
        rows = rows + rows_of_test
    for part, lines in cut:
        write(lines, part)
    named = {"benchmark_filename": files} if len(files) == 2 else {}
    found = [pair for part in parts(load_data(config(**named))) for pair in part]
    assert sorted(found) == sorted((user, item) for user, item, *_ in rows)
    assert (
        "2 of 20 rows have no user_id or item_id and are removed (line 4, 9)" in said()
        and ": 1 of" not in said()
    )


def test_sequential_datasets_read_ids_alike(write):
    rows = grid(["NA", "null", '"q', "u"])
    write(rows)
    columns = {"inter": ["user_id", "item_id", "timestamp"]}
    settings = {"train_neg_sample_args": None, "eval_args": LAST_TWO, "load_col": columns}
    data = load_data(config("SASRec", **settings))
    assert set(data.dataset.field2token_id["user_id"]) == {"[PAD]", "NA", "null", '"q', "u"}


# --- a pair is in one part -----------------------------------------------------------------------


def test_repeated_rows_are_dropped_and_said(write, said):
    rows = grid(["u", "v", "w", "x"])
    write(rows)
    once = load_data(config())
    write([row for row in rows for _ in range(2)])
    twice = load_data(config())
    assert twice.sha256 == once.sha256 and parts(twice) == parts(once)
    assert "d.inter: 24 of 48 rows repeat a <user, item> pair of it: dropped" in said()


def test_in_the_order_of_time_the_earliest_row_of_a_pair_counts(write):
    write([("u", "a", 1, 30), ("u", "b", 1, 20), ("u", "c", 1, 40), ("u", "a", 1, 10)])
    assert parts(load_data(config(eval_args=LAST_TWO, topk=[1], valid_metric="NDCG@1"))) == [
        [("u", "a")],
        [("u", "b")],
        [("u", "c")],
    ]


def test_pairs_of_an_earlier_file_are_left_out_of_later_ones(write, said):
    rows = grid(["u", "v", "w", "x"])
    write([*rows, rows[0]], "train")
    write([("u", "new", 1, 1), *rows[:3], ("v", "new", 1, 1), ("v", "new", 1, 2)], "test")
    data = load_data(config(benchmark_filename=["train", "test"]))
    train, valid, test = parts(data)
    assert sorted(train + valid) == sorted((user, item) for user, item, *_ in rows)
    assert test == [("u", "new"), ("v", "new")]
    for line in (
        "d.train.inter: 1 of 25 rows repeat a <user, item> pair of it: dropped",
        "d.test.inter: 1 of 6 rows repeat a <user, item> pair of it: dropped",
        "d.test.inter: 3 of 6 rows repeat a <user, item> pair of an earlier file: dropped",
    ):
        assert line in said()


def test_impressions_may_repeat_and_are_counted(write, said):
    rows = grid(["u", "v", "w", "x"])
    rows += [(user, item, 1, time + 99) for user, item, _, time in rows[:5]]
    write(rows)
    dataset = config(
        "FM",
        load_col={"inter": ["user_id", "item_id", "rating"]},
        LABEL_FIELD="rating",
        metrics=["RMSE"],
        valid_metric="RMSE",
        eval_args={"mode": "labeled"},
    )
    assert sum(map(len, parts(load_data(dataset)))) == len(rows)
    assert "d.inter: 5 of 29 rows repeat a <user, item> pair of it: kept as impressions" in said()


@pytest.mark.parametrize(
    ("n_items", "cure"),
    [
        (8, "--topk=[5] --valid_metric=NDCG@5"),
        (4, "--topk=[4] --valid_metric=NDCG@4"),
        (12, "--topk=[5,10] --valid_metric=NDCG@10"),
    ],
)
def test_lists_that_the_message_names_fit_the_catalogue(write, n_items, cure):
    write(grid(["u", "v", "w", "x"], n_items))
    with pytest.raises(ValueError, match=rf"are items \({n_items}\) in d") as refused:
        load_data(config(topk=[3, 20]))
    assert str(refused.value).endswith(f"such as {cure}")
    options = dict(option.removeprefix("--").split("=") for option in cure.split())
    topk = [int(k) for k in options["topk"].strip("[]").split(",")]
    load_data(config(topk=topk, valid_metric=options["valid_metric"]))


# --- time ----------------------------------------------------------------------------------------


def test_close_times_keep_their_order(write):
    rows = grid(["u", "v", "w", "x"])  # one second apart: equal as float32
    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    write(shuffled)
    data = load_data(config(eval_args=LAST_TWO))  # load_col leaves the times out
    last = {user: item for user, item, *_ in rows}
    assert sorted(parts(data)[2]) == sorted(last.items())
    tasks = {"click": {"field": "rating", "at_least": 4, "weight": 1.0}}
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    stream = config("TTSN", tasks=tasks, load_col=columns, metrics=["NE"], valid_metric="NE")
    found = [pair for part in slices_of(stream, 4) for pair in pairs(part)]
    assert found == [(user, item) for user, item, *_ in rows]


def test_order_of_time_without_times(write):
    path = write([row[:3] for row in grid(["u", "v"])])
    with pytest.raises(ValueError, match=r"order TO needs times: TIME_FIELD 'timestamp' must be"):
        load_data(config(eval_args=LAST_TWO))
    path.write_text(path.read_text().replace("rating:float", "timestamp:token"))
    with pytest.raises(ValueError, match=r"a column of type float in d.inter, which has user_id"):
        load_data(config(eval_args=LAST_TWO))


# --- evaluation ----------------------------------------------------------------------------------


def candidates(loader) -> list:
    return [batch[0]["item_id"].tolist() for batch in loader]


@pytest.mark.parametrize("mode", ["uni5", "pop5"])
def test_candidates_are_fixed_by_the_split_seed(write, mode):
    write(grid([f"u{i}" for i in range(9)], n_items=40))
    evaluation = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": mode}

    def load(**seeds):
        return load_data(config(eval_args=evaluation, **seeds))

    one, two, other = load(seed=1), load(seed=2), load(split_seed=7)
    before = np.random.get_state()[1].tolist()
    first = candidates(one.valid)
    assert first == candidates(one.valid) == candidates(two.valid) != candidates(other.valid)
    assert np.random.get_state()[1].tolist() == before
    small = load(eval_batch_size=1)  # one user at a time
    few, many = (list(chain(*candidates(data.test))) for data in (small, one))
    assert few == many


def test_reports_tell_sampled_from_full_ranking():
    sys.path.insert(0, str(Path(__file__).parent))
    from studies import made as row

    sampled = row("BPR", 0.9)
    sampled["settings"] = {**sampled["settings"], "eval_args": {"mode": {"test": "uni100"}}}
    lines = [
        line_of([r], ["recall@20"], name=name) for name, r in (("A", sampled), ("B", row("X", 0.1)))
    ]
    assert "**Rows differ in candidates**: full (B); uni100 (the others)" in difference_notes(lines)
    (note,) = (note for note in provenance_notes([sampled]) if "Sampled" in note)
    assert "`uni100`" in note and not any("Sampled" in n for n in provenance_notes([row("X", 0.1)]))


@pytest.mark.parametrize(
    ("part", "ratios"), [("validation", [0.8, 0, 0.2]), ("test", [0.8, 0.2, 0])]
)
def test_an_empty_part_is_said_before_training(write, part, ratios):
    write(grid(["u", "v", "w"]))
    split = {"split": {"RS": ratios}, "order": "RO", "group_by": "user", "mode": "full"}
    with pytest.raises(ValueError, match=f"the {part} set of d is empty: none of 18 interactions"):
        load_data(config(eval_args=split))


def test_a_test_file_without_a_pair_of_its_own(write):
    rows = grid(["u", "v", "w"])
    write(rows, "train")
    write([("", "i1", 1, 1)], "test")
    with pytest.raises(ValueError, match=r"d.test.inter has no row with user_id and item_id"):
        load_data(config(benchmark_filename=["train", "test"]))
    write(rows[:4], "test")
    with pytest.raises(ValueError, match=r"the test set of d is empty.*\['train', 'test'\]"):
        load_data(config(benchmark_filename=["train", "test"]))


# --- a user with every item ----------------------------------------------------------------------

FULL = [("all", f"i{item}", 4, item) for item in range(8)]


@pytest.mark.parametrize("model", ["EASE", "Pop", "BPR", "LightGCN", "NeuMF", "MultVAE", "NESCL"])
def test_a_user_with_every_item_is_no_obstacle(write, model):
    write(grid(["u", "v", "w"]) + FULL)
    result = run(model, "d", overrides={**FAST, "state": "INFO"})
    assert 0 <= result.rows[0]["metrics"]["recall@3"] <= 1
    log = (result.folder / "run.log").read_text()
    assert log.count("users with every item: 1 (first 'all')") == 1


def test_nothing_is_left_to_recommend_to_that_user(write, capsys):
    write(grid(["u", "v", "w"]) + FULL, "train")
    write([("u", "i0", 1, 1), ("v", "i3", 1, 1)], "test")
    folder = run("BPR", "d", overrides={**FAST, "benchmark_filename": ["train", "test"]}).folder
    assert LoadedRun.load(folder).recommend("all", 3) == [[]]
    capsys.readouterr()
    assert main(["recommend", f"--checkpoint={folder}", "--users=all"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "user 'all' has every item: none is left to recommend" in printed.err


# --- requests ------------------------------------------------------------------------------------


def test_ids_with_commas_are_asked_for(write, tmp_path, capsys):
    write(grid(["Smith, John", "Doe, Jane", "u", " v"]))
    folder = run("BPR", "d", overrides=FAST).folder
    (tmp_path / "users.txt").write_text("Doe, Jane\n\n v\n")
    options = ["--users=u", "--user=Smith, John", f"--users-file={tmp_path / 'users.txt'}"]
    capsys.readouterr()
    assert main(["recommend", f"--checkpoint={folder}", "--k=1", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["u", "Smith, John", "Doe, Jane", " v"]
    served = LoadedRun.load(folder)
    assert served.recommend("u", 2) == served.recommend(["u"], 2)
    for wrong, message in (
        ("--user=Smith", "user 'Smith' is not in d, which has 4 users, such as 'Smith, John'"),
        ("--users-file=none.txt", "--users_file none.txt does not exist"),
        ("--k=2", "no user given: say --users=42,17, --user=ID or --users_file=FILE"),
    ):
        assert main(["recommend", f"--checkpoint={folder}", wrong]) == 1
        assert message in capsys.readouterr().err


# --- where the data are --------------------------------------------------------------------------


def test_data_path_holds_for_every_dataset(in_tmp, capsys):
    (in_tmp / "mine" / "ml-100k").mkdir(parents=True)
    rows = "\n".join("\t".join(map(str, row)) for row in grid(["u", "v", "w", "x"]))
    (in_tmp / "mine" / "ml-100k" / "ml-100k.inter").write_text(f"{HEADER}\n{rows}\n")
    settings = {**FAST, "data_path": "mine", "state": "ERROR"}
    assert load_data(HillConfig("BPR", "ml-100k", None, settings)).dataset.user_num == 5
    assert main(["table", "2", "--dataset=ml-100k", "--data_path=mine"]) == 0
    assert "| ml-100k | here | 4 | 8 | 24 |" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"nowhere/ml-100k/ml-100k.inter does not exist"):
        load_data(HillConfig("BPR", "ml-100k", None, {**settings, "data_path": "nowhere"}))


def test_a_prepared_file_that_has_changed_is_refused(tiny_path, tmp_path, tiny_config):
    (tmp_path / "tiny").mkdir()
    for file in (tiny_path / "tiny").iterdir():
        (tmp_path / "tiny" / file.name).write_bytes(file.read_bytes())
    settings = {"data_path": str(tmp_path)}
    assert load_data(tiny_config("BPR", **settings))
    path = tmp_path / "tiny" / "tiny.test.inter"
    first, rest = path.read_text().split("\n", 1)
    path.write_text("\n".join([first, rest.replace("1", "2", 1)]))
    with pytest.raises(ValueError, match=r"tiny.test.inter has changed since it was prepared: SHA"):
        load_data(tiny_config("BPR", **settings))
    manifest = tmp_path / "tiny" / "tiny.manifest.json"
    manifest.write_text(json.dumps({"files": ["tiny.test.inter"]}))
    with pytest.raises(ValueError, match=r"tiny.manifest.json is not a manifest that prepare"):
        load_data(tiny_config("BPR", **settings))


@pytest.mark.parametrize(
    ("key", "value"), [("normalize_field", ["a"]), ("discretization", {"a": {"method": "ED"}})]
)
def test_a_setting_of_a_column_that_is_not_read_is_named(tiny_config, key, value):
    with pytest.raises(ValueError, match=rf"{key} must be of columns that are read, .*; got 'a'"):
        load_data(tiny_config("BPR", **{key: value}))
