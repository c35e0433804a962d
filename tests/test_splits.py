"""The protocols: what trains, what chooses, and that no test interaction leaks."""

import numpy as np
import pytest
import torch
from recbole.data.dataset import Dataset

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import evaluation_batch, load_data


def pairs(loader) -> set:
    dataset = loader._dataset
    users, items = (
        dataset.field2id_token[f][dataset.inter_feat[f].numpy()]
        for f in (dataset.uid_field, dataset.iid_field)
    )
    return set(zip(users.tolist(), items.tolist(), strict=True))


def source_pairs(tiny_path, part) -> set:
    lines = (tiny_path / "tiny" / f"tiny.{part}.inter").read_text().splitlines()[1:]
    return {tuple(line.split("\t")) for line in lines}


@pytest.fixture
def protocols(tiny_config):
    return {
        p: load_data(tiny_config("NESCL", protocol=p)) for p in ("holdout", "refit", "published")
    }


def test_holdout_carves_validation_from_train_alone(protocols, tiny_path):
    data = protocols["holdout"]
    train, valid, test = (pairs(x) for x in (data.train, data.valid, data.test))
    assert train | valid == source_pairs(tiny_path, "train") and not train & valid
    assert test == source_pairs(tiny_path, "test")
    assert len(valid) == int(0.1 * len(train | valid))
    assert {u for u, _ in train} == {u for u, _ in train | valid}


@pytest.mark.parametrize("protocol", ["refit", "published"])
def test_other_protocols_train_on_all_of_train(protocols, tiny_path, protocol):
    data = protocols[protocol]
    assert pairs(data.train) == source_pairs(tiny_path, "train")
    assert pairs(data.valid) == pairs(data.test) == source_pairs(tiny_path, "test")


def test_test_rankings_mask_train_and_validation_only(protocols):
    data = protocols["holdout"]
    known = pairs(data.train) | pairs(data.valid)
    for loader, seen in ((data.test, known), (data.valid, pairs(data.train))):
        for user in loader.uid_list.tolist():
            token = data.dataset.id2token("user_id", user)
            history = loader.uid2history_item[user].tolist()
            tokens = {data.dataset.id2token("item_id", i) for i in history}
            assert tokens == {i for u, i in seen if u == token}


def test_seed_changes_nothing_of_the_split_but_split_seed_does(tiny_config):
    one, two, other = (
        load_data(tiny_config("NESCL", **seeds))
        for seeds in ({"seed": 1}, {"seed": 2}, {"split_seed": 7})
    )
    assert pairs(one.valid) == pairs(two.valid) != pairs(other.valid)
    assert one.sha256 == two.sha256 != other.sha256


def test_seed_changes_nothing_of_recboles_own_split(tiny_config):
    def load(**seeds):
        return load_data(HillConfig("BPR", "ml-100k", None, {"state": "ERROR", **seeds}))

    one, two = load(seed=1), load(seed=2)
    assert one.sha256 == two.sha256
    assert len(pairs(one.train)) + len(pairs(one.valid)) + len(pairs(one.test)) == 100_000


def test_published_on_recboles_split_trains_on_validation_too():
    sizes = {}
    for protocol in ("holdout", "refit"):
        settings = {"state": "ERROR", "protocol": protocol}
        data = load_data(HillConfig("BPR", "ml-100k", None, settings))
        sizes[protocol] = [len(pairs(x)) for x in (data.train, data.valid, data.test)]
    train, valid, test = sizes["holdout"]
    assert sizes["refit"] == [train + valid, test, test]


def test_rows_are_recboles():
    dataset = load_data(HillConfig("MoNN", "ml-100k")).train._dataset
    for index in (np.array([7, 3, 7]), torch.tensor([5]), slice(2, 9), [4, 1]):
        expected = Dataset.join(dataset, dataset.inter_feat[index])
        found = dataset[index]
        assert list(found) == list(expected) and "class" in found and "age" in found
        assert all(torch.equal(found[field], expected[field]) for field in found)
        assert list(dataset.__getitem__(index, join=False)) == list(dataset.inter_feat)


def test_evaluation_is_not_one_user_at_a_time():
    n_items = 40_982
    users = evaluation_batch(n_items, 512) // n_items
    assert 500 < users < 1000
    assert evaluation_batch(10, 512) == 4096 * 10
    assert evaluation_batch(10**9, 1) == 10**9


def test_missing_dataset_says_how_to_get_it(tmp_path):
    config = HillConfig("NESCL", "gowalla", None, {"data_path": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r"gowalla.train.inter does not exist.*prepare"):
        load_data(config)
