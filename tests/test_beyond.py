"""Metrics beyond accuracy: lists made by hand, RecBole's own metrics, a run's kept lists."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import tiny_settings
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from torch import from_numpy

from recbole_hill import cli
from recbole_hill.evaluation import beyond as metrics
from recbole_hill.evaluation.beyond import Interactions, beyond
from recbole_hill.evaluation.top_lists import LISTS, lists_table, read_lists, write_lists
from recbole_hill.pipeline import run
from recbole_hill.report.beyond import beyond_table
from recbole_hill.run.folder import read_config
from recbole_hill.serve.loaded_run import LoadedRun


def matrix(rows: list[list[int]], n_items: int) -> sp.csr_matrix:
    dense = np.zeros((len(rows), n_items))
    for row, items in enumerate(rows):
        dense[row, items] = 1
    return sp.csr_matrix(dense)


@pytest.fixture
def by_hand():
    """Five users and ten items; item 0 has four train users, item 9 none."""
    train = matrix([[0, 1, 2], [0, 1], [0], [0, 3, 4, 5], [6, 7, 8]], 10)
    test = matrix([[3], [2, 9], [1], [1], [0, 9]], 10)
    return Interactions(train, train, test)


LISTS_BY_HAND = np.array([[3, 9], [2, 3], [1, 2], [2, 1], [0, -1]])


def test_values_by_hand(by_hand):
    found = beyond(np.arange(5), LISTS_BY_HAND, by_hand)
    assert found["recall"] == pytest.approx((1 + 1 / 2 + 1 + 1 + 1 / 2) / 5)
    assert found["coverage"] == 5 / 10  # items 0, 1, 2, 3 and 9
    # Counts of lists, rising: five 0, then 0: 1, 9: 1, 1: 2, 3: 2, 2: 3; the weights are 1, 3, ...
    assert found["gini"] == pytest.approx((1 * 1 + 3 * 1 + 5 * 2 + 7 * 2 + 9 * 3) / (10 * 9))
    information = {0: -np.log2(4 / 5), 1: -np.log2(2 / 5), 2: -np.log2(1 / 5)}
    information[3] = information[9] = information[2]
    lists = [[3, 9], [2, 3], [1, 2], [2, 1], [0]]
    of_lists = [np.mean([information[item] for item in one]) for one in lists]
    assert found["novelty"] == pytest.approx(np.mean(of_lists))
    assert found["popularity"] == pytest.approx((0.5 + 1 + 1.5 + 1.5 + 4) / 5)
    assert found["tail"] == pytest.approx((1 + 1 + 0.5 + 0.5 + 0) / 5)  # the head is items 0 and 1
    # Items 1 and 2 share train user 0 of two and one; the other pairs of lists share none.
    near = 1 / np.sqrt(2)
    assert found["diversity"] == pytest.approx((1 + 1 + (1 - near) + (1 - near)) / 4)
    assert found["popq"] == 0  # users 1 and 4 have two test items; their hits are the popular ones
    # Groups {0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}: wanted 3, 2, 0, 0, 2, found 3, 2, 0, 0, 0.
    rates = [3 / 3, 2 / 2, 0 / 2]
    assert found["reo"] == pytest.approx(np.std(rates) / np.mean(rates))
    # Of 5 x 2 pairs a group's train pairs are no candidates: 6, 2, 2, 2 and 1 of them.
    chances = np.array([3 / 4, 5 / 8, 0, 0, 1 / 9])
    assert found["rsp"] == pytest.approx(chances.std() / chances.mean())
    # Users 3 and 2 have four train items and one.
    assert (found["recall_heavy"], found["recall_light"], found["user_gap"]) == (1, 1, 0)


def test_a_list_of_no_items_and_no_hit(by_hand):
    found = beyond(np.arange(5), np.full((5, 2), -1), by_hand)
    assert found["coverage"] == found["recall"] == 0
    assert all(
        np.isnan(found[name]) for name in ("gini", "novelty", "diversity", "popq", "reo", "rsp")
    )


def test_every_list_equal_is_the_most_and_the_least_unequal():
    assert metrics.gini(np.ones(7)) == 0
    assert metrics.gini(np.array([0, 0, 0, 5])) == 3 / 4
    assert metrics.unequal(np.array([1, 2, 0]), np.array([2, 4, 0])) == 0


def test_popularity_quantiles_by_hand():
    popularity = np.array([9, 5, 5, 2, 1, 7])
    wanted = matrix([[0, 1, 2, 3], [0, 3, 4], [1, 2], [4], [0, 1], [3, 4, 5]], 6)
    lists = np.array([[4, 2, 3], [5, 4, 0], [1, 2, -1], [4, 0, 1], [3, 4, -1], [3, 5, 4]])
    # User 0's first hit is item 2: of four, one is before it and one beside it, (1 + 2) / 2 of 3.
    # User 1's is the last of three, user 2's one of two equals, user 5's the second of three.
    # User 3 has one test item, user 4 no hit.
    quantiles = [1.5 / 3, 2 / 2, 0.5 / 1, 1 / 2]
    assert metrics.popularity_quantile(lists, wanted, popularity) == pytest.approx(
        np.mean(quantiles)
    )


def test_a_model_that_ranks_by_popularity_has_the_quantile_0_and_the_opposite_1():
    popularity = np.arange(30)
    rng = np.random.default_rng(2)
    wanted = sp.csr_matrix((rng.random((40, 30)) < 0.2).astype(float))
    for lists, quantile in ((popularity[::-1], 0), (popularity, 1)):
        found = metrics.popularity_quantile(np.tile(lists, (40, 1)), wanted, popularity)
        assert found == quantile
    random = rng.permuted(np.tile(popularity, (2000, 1)), axis=1)
    wanted = sp.csr_matrix((rng.random((2000, 30)) < 0.2).astype(float))
    assert metrics.popularity_quantile(random, wanted, popularity) == pytest.approx(0.5, abs=0.03)


def test_heavy_and_light_users_are_fifths():
    heavy, light = metrics.heavy_and_light(np.array([1, 9, 3, 8, 2, 2, 7, 1, 6, 5]))
    assert (sorted(heavy), sorted(light)) == ([1, 3], [0, 7])


def test_diversity_is_that_of_a_slow_reference():
    rng = np.random.default_rng(0)
    train = sp.csr_matrix((rng.random((60, 40)) < 0.1).astype(float))
    lists = np.argsort(rng.random((700, 40)), axis=1)[:, :6]
    cosine = (train.T @ train).toarray()
    norms = np.sqrt(np.maximum(cosine.diagonal(), 1e-9))
    cosine /= np.outer(norms, norms)
    slow = [np.mean([1 - cosine[a, b] for a, b in combinations(one, 2)]) for one in lists]
    assert metrics.diversity(metrics._as_matrix(lists, 40), train) == pytest.approx(np.mean(slow))


def test_they_are_recboles_where_recbole_has_them():
    """RecBole counts its padding item among the items; it is column 0 here, and on no list."""
    rng = np.random.default_rng(1)
    lists = np.argsort(rng.random((50, 29)), axis=1)[:, :5] + 1
    train = sp.csr_matrix((rng.random((50, 30)) < rng.random(30) ** 2).astype(float))
    popularity = np.asarray(train.sum(axis=0)).ravel()
    names = ["ItemCoverage", "GiniIndex", "AveragePopularity"]
    theirs = Evaluator({"metrics": names, "topk": [5], "metric_decimal_place": 12})
    struct = DataStruct()
    struct.set("rec.items", from_numpy(lists))
    struct.set("data.num_items", 30)
    struct.set("data.count_items", dict(enumerate(popularity)))
    wanted = theirs.evaluate(struct)
    found = beyond(np.arange(50), lists, Interactions(train, train, train))
    assert found["coverage"] == pytest.approx(wanted["itemcoverage@5"])
    assert found["gini"] == pytest.approx(wanted["giniindex@5"])
    assert found["popularity"] == pytest.approx(wanted["averagepopularity@5"])


def test_lists_are_read_as_they_were_written(tmp_path):
    users, lists = np.array([3, 1]), np.array([[5, 2, 9], [7, 0, 0]])
    write_lists(tmp_path, [lists_table("b", users, lists), lists_table("a", users, lists[::-1])])
    found = read_lists(tmp_path)
    assert list(found) == ["b", "a"]
    for arm, kept in (("b", lists), ("a", lists[::-1])):
        assert found[arm][0].tolist() == [3, 1] and (found[arm][1] == kept).all()
    (tmp_path / LISTS).write_bytes((tmp_path / LISTS).read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"lists.parquet is not a whole file of lists"):
        read_lists(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere/lists.parquet does not exist"):
        read_lists("nowhere")


def test_a_run_keeps_the_lists_that_it_serves(run_folder):
    kept = read_lists(run_folder)
    assert list(kept) == ["backbone", "backbone + EM", "pairs", "HILL"]
    users, lists = kept["HILL"]
    served = LoadedRun.load(run_folder)
    tokens = served.data.dataset.field2id_token
    assert len(users) == 80 and lists.shape == (80, 10)
    shown = served.recommend(tokens["user_id"][users].tolist(), 10)
    for kept_list, best in zip(lists, shown, strict=True):
        names = [tokens["item_id"][item] for item in kept_list if item]
        assert names == [item for item, _ in best]


def test_the_table_needs_no_training_and_its_recall_is_the_rows(tiny_path, in_tmp, capsys):
    folders = []
    for model in ("Pop", "EASE"):
        settings = tiny_settings(tiny_path, model, run_dir=f"saved/{model}")
        folders.append(run(model, "tiny", overrides=settings).folder)
        (folders[-1] / "backbone.safetensors").unlink()
    assert cli.main(["report", "--beyond", *map(str, folders), "--k=5"]) == 0
    out = capsys.readouterr().out
    for folder in folders:
        row = pd.read_json(folder / "rows.jsonl", lines=True).iloc[0]
        assert f"| {folder.name} | {row['arm']} | {row['metrics']['recall@5']:.4f} |" in out
    assert "lists of 5 items" in out and "- REO: " in out
    assert "recall@10" in beyond_table(folders)  # of valid_metric
    assert cli.main(["report", "--beyond", str(folders[0]), "--k=11"]) == 1
    assert "kept lists of 10 items, k is 11" in capsys.readouterr().err
    (folders[0] / LISTS).write_bytes((folders[1] / LISTS).read_bytes())
    with pytest.raises(ValueError, match=r"lists.parquet was changed after the run"):
        beyond_table(folders)


def test_sampled_evaluation_keeps_no_lists(tiny_path, in_tmp):
    mode = {"eval_args": {"mode": "uni20"}, "topk": [3], "valid_metric": "NDCG@3"}
    result = run("Pop", "tiny", overrides=tiny_settings(tiny_path, "Pop", **mode))
    assert read_config(result.folder)["topk"] == [3]
    assert not (result.folder / LISTS).exists()
