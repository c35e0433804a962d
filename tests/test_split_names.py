"""Splits by name: exactly which rows stand in which part."""

import pytest

from recbole_hill.config.config import HillConfig
from recbole_hill.config.split import SPLITS
from recbole_hill.data.splits import load_data

FAST = {"epochs": 1, "topk": [1], "valid_metric": "NDCG@1", "state": "INFO"}
START = 1_700_000_000


@pytest.fixture
def write(in_tmp):
    """Writes a file of the dataset ``d`` from (user, item, time) or (user, item) rows."""

    def write(rows: list[tuple], part: str = "") -> None:
        path = in_tmp / "dataset" / "d" / ".".join(filter(None, ("d", part, "inter")))
        path.parent.mkdir(parents=True, exist_ok=True)
        header = ["user_id:token", "item_id:token", "timestamp:float"][: len(rows[0])]
        path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n")

    return write


def config(split, **settings) -> HillConfig:
    return HillConfig(settings.pop("model", "BPR"), "d", None, {**FAST, "split": split, **settings})


def parts(split: str, **settings) -> list[list[tuple[str, str]]]:
    """Returns the <user, item> pairs of train, validation and test."""
    data, found = load_data(config(split, **settings)), []
    for loader in (data.train, data.valid, data.test):
        dataset = loader._dataset
        ids = (
            dataset.field2id_token[field][dataset.inter_feat[field].numpy()].tolist()
            for field in (dataset.uid_field, dataset.iid_field)
        )
        found.append(list(zip(*ids, strict=True)))
    return found


def by_user(pairs) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in pairs:
        found.setdefault(user, []).append(item)
    return found


def backwards(users: str, n: int) -> list[tuple]:
    """Returns n rows per user whose last line is the first in time; seconds apart by one."""
    return [(u, f"i{at}", START + at) for u in users for at in reversed(range(n))]


def test_leave_one_out(write):
    write([*backwards("uv", 4), ("w", "i0", START), ("w", "i1", START + 1), ("x", "i2", START)])
    train, valid, test = map(by_user, parts("leave_one_out"))
    assert train == {"u": ["i0", "i1"], "v": ["i0", "i1"], "w": ["i0"], "x": ["i2"]}
    assert valid == {"u": ["i2"], "v": ["i2"]}
    assert test == {"u": ["i3"], "v": ["i3"], "w": ["i1"]}


def test_time_per_user(write):
    write(backwards("uv", 20))
    train, valid, test = map(by_user, parts("time_per_user"))
    for user in "uv":
        assert train[user] == [f"i{at}" for at in range(16)]
        assert (valid[user], test[user]) == (["i16", "i17"], ["i18", "i19"])


def test_global_time_is_one_cut_for_all(write):
    """u is early and v is late: v's rows are validation and test, wherever they stand."""
    late = [("v", f"i{at}", START + 100 + at) for at in range(4)]
    write([*late[::-1], *backwards("u", 16)])
    train, valid, test = parts("global_time")
    assert train == [("u", f"i{at}") for at in range(16)]
    assert valid == [("v", "i0"), ("v", "i1")] and test == [("v", "i2"), ("v", "i3")]


def test_global_time_keeps_rows_of_one_second_together(write):
    """Of 20 rows the 19th opens the test set; the 18th is of the same second and goes with it."""
    times = [*range(17), 17, 17, 18]
    write([("u" if at % 2 else "v", f"i{at}", START + time) for at, time in enumerate(times)])
    train, valid, test = ({item for _, item in part} for part in parts("global_time"))
    assert train == {f"i{at}" for at in range(16)}
    assert (valid, test) == ({"i16"}, {"i17", "i18", "i19"})


def test_global_time_says_who_is_cold(write, caplog):
    late = [("v", f"i{at}", START + 100 + at) for at in range(4)]
    write([*backwards("u", 16), *late])
    caplog.set_level("INFO")
    parts("global_time")
    assert (
        "split global_time: 16, 2, 2 rows in train, validation and test; 1 of 1 test users and "
        "0 of 2 test items have no row in train" in caplog.text
    )


@pytest.mark.parametrize(("split", "side"), [("cold_users", 0), ("cold_items", 1)])
def test_cold_users_and_items_are_whole(write, split, side):
    rows = [(f"u{u}", f"i{i}") for u in range(30) for i in range(20) if (u + i) % 3]
    write(rows)
    found = parts(split)
    ids = [{pair[side] for pair in part} for part in found]
    n = (30, 20)[side]
    assert [len(one) for one in ids] == [n - 2 * (n // 10), n // 10, n // 10]
    assert not ids[0] & ids[1] and not ids[0] & ids[2] and not ids[1] & ids[2]
    assert sorted(pair for part in found for pair in part) == sorted(rows)
    assert found == parts(split, seed=1) != parts(split, split_seed=7)


@pytest.mark.parametrize("split", ["cold_users", "cold_items", "global_time"])
@pytest.mark.parametrize("protocol", ["holdout", "refit"])
def test_a_pair_is_in_one_part(write, split, protocol):
    rows = [(f"u{u}", f"i{i}", START + 7 * u + i) for u in range(20) for i in range(10)]
    again = [(user, item, time + 10_000) for user, item, time in rows[::3]]
    write([*rows, *again])
    train, valid, test = parts(split, protocol=protocol)
    assert not set(train) & set(test)
    assert len(train) == len(set(train)) and len(test) == len(set(test))
    if protocol == "refit":
        assert sorted(train + test) == sorted(row[:2] for row in rows) and valid == test


def test_random_is_todays_default(write):
    write(backwards("uvw", 20))
    assert parts("random") == parts(None)
    assert [len(part) for part in parts("random")] == [48, 6, 6]


def test_fixed_is_the_files(write):
    write(backwards("uv", 20)[:30], "train")
    write([("u", "x", START), ("v", "y", START)], "test")
    files = {"benchmark_filename": ["train", "test"]}
    assert parts("fixed", **files) == parts(None, **files)
    assert parts("fixed", **files)[2] == [("u", "x"), ("v", "y")]
    with pytest.raises(ValueError, match=r"split random needs a dataset in one file.*is fixed"):
        config("random", **files)
    with pytest.raises(ValueError, match=r"split fixed needs files: benchmark_filename"):
        config("fixed")


def test_splits_that_do_not_fit_are_named(write):
    write(backwards("uv", 5))
    with pytest.raises(ValueError, match=rf"split must be one of {', '.join(SPLITS)}, got 'time'"):
        config("time")
    with pytest.raises(ValueError, match=r"split random and eval_args order 'TO' are given"):
        config("random", eval_args={"order": "TO"})
    assert config("random", eval_args={"mode": "uni5"})["eval_args"]["mode"]["test"] == "uni5"
    with pytest.raises(ValueError, match=r"split global_time is for models of <user, item> rows"):
        columns = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
        load_data(config("global_time", model="SASRec", train_neg_sample_args=None, **columns))


@pytest.mark.parametrize("split", ["leave_one_out", "time_per_user", "global_time"])
def test_splits_in_time_need_times(write, split):
    write([row[:2] for row in backwards("uv", 5)])
    with pytest.raises(ValueError, match=rf"split {split} needs times: TIME_FIELD 'timestamp'"):
        load_data(config(split))


def test_times_are_loaded_where_the_dataset_leaves_them_out(write):
    write(backwards("uv", 20))
    few = {"load_col": {"inter": ["user_id", "item_id"]}}
    assert parts("global_time", **few) == parts("global_time")


def test_a_configuration_of_a_run_is_read_again(write):
    write(backwards("uv", 5))
    first = config("cold_users")
    again = config("cold_users", eval_args=dict(first["eval_args"]))
    assert again["eval_args"] == first["eval_args"]
