"""The files of properties/features/: they parse, and what tasks are made of is read."""

from pathlib import Path

import pytest
from features_yaml import columns_of, load_features, read_features

from recbole_hill.config.properties import read_properties
from recbole_hill.data.prepare.kuairand import LABELS

FOLDER = Path(__file__).resolve().parents[1] / "properties" / "features"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))


def test_there_is_one_for_every_dataset_with_labels():
    assert {"impressions", "kuairand-pure", "ml-100k", "ml-1m"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_tasks_and_columns_agree(name):
    settings = read_features(name)
    columns, tasks = settings["load_col"], settings["tasks"]
    assert set(columns) == {"inter", "user", "item"}
    assert columns["inter"][:2] == ["user_id", "item_id"] and "timestamp" in columns["inter"]
    assert columns["user"][0] == "user_id" and columns["item"][0] == "item_id"
    for names in columns.values():
        assert len(set(names)) == len(names)
    # RecBole keeps one type per name: a user's column must not be called as an item's.
    ids = {"user_id", "item_id"}
    assert not (set(columns["user"]) & set(columns["item"])) - ids
    assert not set(columns["inter"]) & {*columns["user"], *columns["item"]} - ids

    assert next(iter(tasks)) == "click"
    for task in tasks.values():
        assert set(task) == {"field", "at_least", "weight"}
        assert task["field"] in columns["inter"]
        assert isinstance(task["at_least"], (int, float)) and task["weight"] > 0
    # A general recommender's choice of rows would leave clicks only.
    chosen = read_properties("dataset", f"{name}.yaml")
    assert all(
        settings.get(key, 0) is None for key in ("val_interval", "unused_col") if key in chosen
    )


@pytest.mark.parametrize("name", ["ml-100k", "ml-1m", "kuairand-pure"])
def test_general_recommenders_see_neither_labels_nor_features(name):
    settings = read_properties("dataset", f"{name}.yaml")
    unused = (settings.get("unused_col") or {}).get("inter", [])
    assert set(settings["load_col"]) == {"inter"}
    assert [c for c in settings["load_col"]["inter"] if c not in unused] == ["user_id", "item_id"]


def test_no_label_of_kuairand_is_a_feature():
    settings = read_features("kuairand-pure")
    made_of = {task["field"] for task in settings["tasks"].values()}
    assert made_of == set(LABELS) & set(settings["load_col"]["inter"])


def test_ml_100k_is_read_as_recbole_ships_it():
    dataset = load_features("ml-100k", "ml-100k")
    columns = read_features("ml-100k")["load_col"]
    assert columns_of(dataset) == {file: set(names) for file, names in columns.items()}
    assert dataset.field2type["class"].value == "token_seq"
    rating = dataset.inter_feat["rating"]
    assert len(rating) == 100_000
    assert (rating >= 4).sum() == 55_375 and (rating >= 5).sum() == 21_201


def test_ml_1m_is_read_as_recbole_publishes_it(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ml-1m.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1\t1193\t5\t978300760\n1\t661\t3\t978302109\n2\t1193\t4\t978298413\n"
    )
    (folder / "ml-1m.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t1\tF\t10\t48067\n2\t56\tM\t16\t70072\n"
    )
    (folder / "ml-1m.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\n"
        "1193\tOne Flew Over the Cuckoo's Nest\t1975\tDrama\n"
        "661\tJames and the Giant Peach\t1996\tAnimation Children's Musical\n"
    )
    dataset = load_features("ml-1m", "ml-1m", data_path=str(tmp_path))
    columns = read_features("ml-1m")["load_col"]
    assert columns_of(dataset) == {file: set(names) for file, names in columns.items()}
    assert dataset.inter_feat["rating"].tolist() == [5, 3, 4]
    assert dataset.num("genre") == 1 + 4
