"""Test users without a train item: left out, or ranked for by popularity, by hand."""

import hashlib
import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_hill.config.config import HillConfig
from recbole_hill.data.prepare.lightgcn import prepare, verify
from recbole_hill.data.splits import load_data
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.run.files import sha256_of
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.trainer import trainer_for

#: Items by their number of users in train: 10 has 5, 11 has 4, 12 has 3, 13 to 17 have one.
TRAIN = ["0 10 11 12", "1 10 11 12", "2 10 11 12", "3 10 11 13 14", "4 10 15 16 17"]
WARM = ["0 13", "1 14", "2 15", "3 16", "4 11"]
#: The popularity list of length 3 is 10, 11, 12: recalls of 1/1 and 1/2.
COLD = ["8 12", "9 11 17"]
FAST = {"epochs": 1, "topk": [3], "valid_metric": "Recall@3", "show_progress": False, "threads": 1}
FAST |= {"metrics": ["Recall"], "valid_ratio": 0.2}
TREE = {"nodes_per_depth": [3, 2], "adapt_control": [], "em_rounds": 0, "beam_width": 1}


def write(root, test):
    root.mkdir()
    (root / "train.txt").write_text("\n".join(TRAIN) + "\n")
    (root / "test.txt").write_text("\n".join(test) + "\n")
    prepare("d", root, root / "dataset")
    return str(root / "dataset")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cold") / "warm", WARM)


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cold") / "all", [COLD[0], *WARM, COLD[1]])


def trained(model, data_path, **changes):
    return run(model, "d", overrides={**FAST, "data_path": data_path, "state": "INFO", **changes})


def recalls(result) -> dict[str, float]:
    table = pd.read_parquet(result.folder / "per_user.parquet")
    return dict(zip(table["user"], table["recall@3"], strict=True))


MODELS = [("BPR", {}), ("LightGCN", {}), ("EASE", {}), ("Pop", {}), ("MultVAE", {}), ("HILL", TREE)]


@pytest.mark.parametrize(("model", "changes"), MODELS)
def test_by_default_nothing_is_changed_by_such_users(warm, cold, in_tmp, model, changes):
    without, dropped = (trained(model, path, **changes) for path in (warm, cold))
    for one, other in zip(without.rows, dropped.rows, strict=True):
        assert one["metrics"] == other["metrics"]
        assert one["data_sha256"] == other["data_sha256"]
        assert "cold_test_users" not in one
        assert other["cold_test_users"] == {"rule": "drop", "users": 2}
    assert set(recalls(dropped)) == {"0", "1", "2", "3", "4"}
    said = "cold_test_users drop: 2 users with 3 rows have no train item: left out of validation"
    assert said in (dropped.folder / "run.log").read_text()


@pytest.mark.parametrize(("model", "changes"), [*MODELS, ("HILL", {**TREE, "retrieval": "beam"})])
def test_ranked_by_popularity_by_every_model(cold, in_tmp, model, changes):
    result = trained(model, cold, protocol="published", cold_test_users="rank", **changes)
    found = recalls(result)
    assert (found["8"], found["9"]) == (1.0, 0.5)
    assert result.rows[-1]["metrics"]["recall@3"] == pytest.approx(
        sum(found.values()) / 7, abs=1e-6
    )
    assert result.rows[-1]["cold_test_users"] == {"rule": "rank", "users": 2}
    said = "2 users with 3 rows have no train item: kept; every model ranks for them by popularity"
    assert said in (result.folder / "run.log").read_text()
    lists = LoadedRun.load(result.folder).recommend(["9", "8", "4"], 20)
    assert [item for item, _ in lists[0]][:3] == ["10", "11", "12"] and len(lists[0]) == 8
    assert lists[0] == lists[1] and not {"10", "15", "16", "17"} & {item for item, _ in lists[2]}


def test_sampled_candidates_are_ranked_by_popularity_too(cold, in_tmp):
    settings = {**FAST, "data_path": cold, "eval_args": {"mode": "uni3"}, "run_dir": str(in_tmp)}
    config = HillConfig("BPR", "d", None, {**settings, "cold_test_users": "rank"})
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    trainer.see(data.train)
    trainer.tot_item_num = data.dataset.item_num
    items, popularity, seen = data.dataset.field2id_token["item_id"], [10, 11, 12, 13, 14], 0
    for batch in data.test:
        interaction, scores, *_ = trainer._neg_sample_batch_eval(batch)
        users = interaction["user_id"][batch[1].diff(prepend=torch.tensor([-1])) > 0]
        for row, user in zip(scores, data.dataset.id2token("user_id", users), strict=True):
            order = [int(items[item]) for item in row.argsort(descending=True) if row[item] > -9]
            by_popularity = [item for item in popularity if item in order]
            if user in ("8", "9"):
                assert order[: len(by_popularity)] == by_popularity
                seen += 1
    assert seen == 2


def test_splits_of_recbole_are_treated_alike(in_tmp, caplog):
    rows = [(f"u{user}", f"i{item}", 100 * user + item) for user in range(4) for item in range(5)]
    folder = in_tmp / "dataset" / "d"
    folder.mkdir(parents=True)
    head = "user_id:token\titem_id:token\ttimestamp:float"
    lines = ["\t".join(map(str, row)) for row in rows]
    (folder / "d.inter").write_text("\n".join([head, *lines]) + "\n")
    order = {"split": {"RS": [0.7, 0.1, 0.2]}, "order": "TO", "group_by": None, "mode": "full"}

    def users(**changes):  # rows 0 to 13 train, 14 and 15 validate, 16 to 19 test: u3 is new
        config = HillConfig("BPR", "d", None, {**FAST, "eval_args": order, **changes})
        data = load_data(config)
        field = data.dataset.uid_field
        parts = (loader._dataset.inter_feat[field].numpy() for loader in (data.valid, data.test))
        return [data.dataset.id2token(field, part).tolist() for part in parts]

    caplog.set_level(logging.WARNING)
    assert users(cold_test_users="rank") == [["u2", "u3"], ["u3"] * 4]
    with pytest.raises(ValueError, match="the test set of d is empty"):
        users()
    assert "cold_test_users drop: 1 users with 5 rows have no train item" in caplog.text
    with pytest.raises(ValueError, match="cold_test_users must be one of drop, rank, got 'keep'"):
        users(cold_test_users="keep")


def test_data_of_an_older_version_keep_their_hash_and_cannot_rank(cold, warm, in_tmp):
    """Older versions left the rows out and noted the users in the manifest."""
    source = in_tmp / "old"
    folder = in_tmp / "old" / "dataset" / "d"
    write(source, [COLD[0], *WARM, COLD[1]])
    path = folder / "d.test.inter"
    kept = [line for line in path.read_text().splitlines() if line.split("\t")[0] not in "89"]
    path.write_text("\n".join(kept) + "\n")
    manifest = json.loads((folder / "d.manifest.json").read_text())
    del manifest["cold_test_kept"]
    manifest["files"]["d.test.inter"] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    hashes = "\n".join(entry["sha256"] for entry in manifest["files"].values())
    manifest["data_sha256"] = hashlib.sha256(hashes.encode()).hexdigest()
    (folder / "d.manifest.json").write_text(json.dumps(manifest))
    assert verify("d", source / "dataset").cold_test_users == [8, 9]
    old, new = (
        load_data(HillConfig("BPR", "d", None, {**FAST, "data_path": str(path)}))
        for path in (folder.parent, cold)
    )
    assert old.sha256 == new.sha256
    ranked = HillConfig(
        "BPR", "d", None, {**FAST, "data_path": str(folder.parent), "cold_test_users": "rank"}
    )
    with pytest.raises(
        ValueError, match="without its 2 test users that have no train item; prepare"
    ):
        load_data(ranked)
    assert not prepare("d", source, source / "dataset").unchanged
    assert load_data(ranked).dataset.cold_test_users == 2
    assert prepare("d", source, source / "dataset").unchanged
    assert np.isin(["8", "9"], load_data(ranked).dataset.field2id_token["user_id"]).all()
