"""Values per user: against the row, against lists made by hand, and read back."""

import impressions
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.evaluation.per_user import PER_USER, ranked_users, read_per_user
from recbole_hill.pipeline import run
from recbole_hill.report.seeds import read_rows
from recbole_hill.serve.loaded_run import LoadedRun

AVERAGED = ["Recall", "NDCG", "MRR", "MAP", "Hit", "Precision", "AveragePopularity"]
AVERAGED += ["TailPercentage"]
OTHERS = ["GAUC", "ItemCoverage", "ShannonEntropy", "GiniIndex"]


@pytest.fixture(scope="module")
def bpr(tiny_path, tmp_path_factory):
    changes = {"checkpoint_dir": str(tmp_path_factory.mktemp("saved")), "metric_decimal_place": 15}
    changes |= {"metrics": AVERAGED + OTHERS, "epochs": 2}
    return run("BPR", "tiny", overrides=tiny_settings(tiny_path, "BPR", **changes))


@pytest.fixture(scope="module")
def log_path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("data"))


def pairs_of(loader) -> dict[str, set[str]]:
    """Returns every user's items in a loader's rows, in external ids."""
    dataset, found = loader._dataset, {}
    users, items = (
        dataset.field2id_token[field][dataset.inter_feat[field].numpy()].tolist()
        for field in (dataset.uid_field, dataset.iid_field)
    )
    for user, item in zip(users, items, strict=True):
        found.setdefault(user, set()).add(item)
    return found


def metrics_by_hand(ranked: list[str], truth: set[str], k: int) -> dict[str, float]:
    hits = [item in truth for item in ranked[:k]]
    gain = sum(1 / np.log2(place + 2) for place, hit in enumerate(hits) if hit)
    ideal = sum(1 / np.log2(place + 2) for place in range(min(k, len(truth))))
    return {
        f"recall@{k}": sum(hits) / len(truth),
        f"ndcg@{k}": gain / ideal,
        f"precision@{k}": sum(hits) / k,
        f"mrr@{k}": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
    }


def test_the_means_are_the_row(bpr):
    table = read_per_user(bpr.folder, "BPR")
    assert list(table.columns) == [f"{name.lower()}@{k}" for name in AVERAGED for k in (5, 10)]
    assert len(table) == 80 and table.index.is_unique and (table.dtypes == "float64").all()
    metrics = bpr.rows[0]["metrics"]
    assert {"gauc", "itemcoverage@5", "giniindex@5", "shannonentropy@5"} < set(metrics)
    for name in table:
        assert table[name].mean() == pytest.approx(metrics[name], abs=1e-12)
        assert table[name].nunique() > 1


def test_every_users_values_are_those_of_lists_made_by_hand(bpr):
    served = LoadedRun.load(bpr.folder)
    data = served.data
    truth, seen = pairs_of(data.test), pairs_of(data.train)
    for user, items in pairs_of(data.valid).items():
        seen[user] |= items
    table, tokens = read_per_user(bpr.folder, "BPR"), data.dataset.field2id_token
    assert set(table.index) == set(truth)
    for user in truth:
        row = torch.tensor([tokens["user_id"].tolist().index(user)])
        scores = served.model.full_sort_predict({"user_id": row}).flatten()[1:]
        ranked = tokens["item_id"][1:][scores.argsort(descending=True).numpy()].tolist()
        ranked = [item for item in ranked if item not in seen[user]]
        for k in (5, 10):
            expected = metrics_by_hand(ranked, truth[user], k)
            assert table.loc[user, [*expected]].tolist() == pytest.approx([*expected.values()])


def test_each_arm_has_its_own_values_and_a_resumed_run_the_same_file(tiny_path, tmp_path):
    changes = {"run_dir": str(tmp_path / "run"), "adapt_control": ["average"]}
    result = run("HILL", "tiny", overrides=tiny_settings(tiny_path, "HILL", **changes))
    for row in read_rows([result.folder]):
        table = read_per_user(result.folder, row["arm"])
        means = table.mean().round(6).to_dict()
        assert means == pytest.approx(row["metrics"], abs=1e-12) and len(means) == 4
    backbone, average = (read_per_user(result.folder, arm) for arm in ("backbone", "average"))
    assert backbone.index.equals(average.index) and not backbone.equals(average)

    kept = (result.folder / PER_USER).read_bytes()
    (result.folder / PER_USER).unlink()
    assert run(resume=str(result.folder)).folder == result.folder
    assert (result.folder / PER_USER).read_bytes() == kept


def test_the_file_is_small_columns_and_dictionaries(bpr):
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(bpr.folder / PER_USER)
    assert schema.names[:3] == ["arm", "user", "recall@5"]
    types = [str(field.type) for field in schema]
    assert types[0].startswith("dictionary<values=string") and types[1] in (
        "string",
        "large_string",
    )
    assert set(types[2:]) == {"double"}


def test_models_of_labelled_impressions(log_path, tmp_path):
    changes = {"run_dir": str(tmp_path / "run"), "metric_decimal_place": 15, "epochs": 2}
    result = run("TTSN", "log", overrides=impressions.settings(log_path, **changes))
    table, metrics = read_per_user(result.folder, "TTSN"), result.rows[0]["metrics"]
    assert list(table.columns) == ["recall@3", "recall@5", "ndcg@3", "ndcg@5"]
    for name in table:
        assert table[name].mean() == pytest.approx(metrics[name], abs=1e-12)

    served = LoadedRun.load(result.folder)
    data = served.data
    rows = data.test._dataset.inter_feat
    liked = set(rows["user_id"][rows["click"] > 0].tolist())
    tokens = data.dataset.field2id_token
    assert sorted(table.index) == sorted(tokens["user_id"][list(liked)].tolist())
    for user in liked:  # recommend leaves out what the user was shown in train and validation
        mine = (rows["user_id"] == user) & (rows["click"] > 0)
        truth = set(tokens["item_id"][rows["item_id"][mine].numpy()].tolist())
        ranked = [item for item, _ in served.recommend([tokens["user_id"][user]], 5)[0]]
        expected = metrics_by_hand(ranked, truth, 5)
        values = table.loc[tokens["user_id"][user], ["recall@5", "ndcg@5"]].tolist()
        assert values == pytest.approx([expected["recall@5"], expected["ndcg@5"]])


def test_no_ranking_metric_no_file(log_path, tmp_path):
    made = impressions.settings(log_path, run_dir=str(tmp_path / "run"), epochs=1)
    made = {key: made[key] for key in made if key != "monn_scale"}
    made["tasks"] = {"click": impressions.TASKS["click"]}
    folder = run("DeepFM", "log", overrides=made).folder
    with pytest.raises(FileNotFoundError, match=r"per_user.parquet does not exist: .*no ranking"):
        read_per_user(folder, "DeepFM")


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("GRU4Rec", {"train_neg_sample_args": None}),
        ("BPR", {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "uni10"}}),
    ],
)
def test_recboles_other_loaders(log_path, tmp_path, model, changes):
    settings = {
        key: impressions.settings(log_path)[key] for key in ("data_path", "topk", "threads")
    }
    settings |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "epochs": 1, **changes}
    settings |= {"run_dir": str(tmp_path / "run"), "metric_decimal_place": 15}
    settings |= {"valid_metric": "Recall@3", "state": "ERROR", "show_progress": False}
    result = run(model, "log", overrides=settings)
    table = read_per_user(result.folder, model)
    means = table.mean().to_dict()
    assert means == pytest.approx(result.rows[0]["metrics"], abs=1e-12) and means["recall@5"] > 0
    data = load_data(HillConfig(model, "log", None, settings))
    order = data.dataset.field2id_token["user_id"][ranked_users(data.test)]
    assert table.index.tolist() == order.tolist() and set(order) == set(pairs_of(data.test))


def test_bad_files_are_named(bpr, tmp_path):
    with pytest.raises(ValueError, match=r"per_user.parquet has no arm 'pairs'; it has BPR$"):
        read_per_user(bpr.folder, "pairs")
    with pytest.raises(FileNotFoundError, match="is no finished run"):
        read_per_user(tmp_path, "BPR")
    (tmp_path / PER_USER).write_bytes((bpr.folder / PER_USER).read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"per_user.parquet is not a whole file"):
        read_per_user(tmp_path, "BPR")
    pd.DataFrame({"user": ["1"]}).to_parquet(tmp_path / PER_USER)
    with pytest.raises(ValueError, match=r"per_user.parquet is not a whole file.*arm"):
        read_per_user(tmp_path, "BPR")
