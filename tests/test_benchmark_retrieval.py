"""The retrieval benchmark at tiny sizes: made catalogues, measures by hand, the whole script."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

SIZE = 3_000
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def scripts(import_benchmark):
    """Makes the scripts importable, as they are for one another."""


@pytest.fixture(scope="module")
def catalogue():
    return importlib.import_module("synthetic_items").Catalogue(SIZE, dim=16, seed=3)


@pytest.fixture(scope="module")
def searchers():
    return importlib.import_module("searchers")


@pytest.fixture(scope="module")
def measure():
    return importlib.import_module("measure")


@pytest.fixture
def setting(catalogue, searchers):
    return searchers.Setting(catalogue.matrix(), (32, 8), iterations=5)


def test_the_same_seed_draws_the_same_catalogue(catalogue):
    again = type(catalogue)(SIZE, dim=16, seed=3)
    np.testing.assert_array_equal(again.matrix(), catalogue.matrix())
    np.testing.assert_array_equal(again.users(50), catalogue.users(50))
    assert not np.array_equal(type(catalogue)(SIZE, dim=16, seed=4).matrix(), catalogue.matrix())


def test_how_many_items_are_drawn_at_once_changes_no_value(catalogue, monkeypatch):
    whole, leaves = catalogue.items(0, SIZE)
    parts = [catalogue.items(start, min(start + 700, SIZE)) for start in range(0, SIZE, 700)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), leaves)
    # The same over the border of two blocks.
    monkeypatch.setattr(importlib.import_module("synthetic_items"), "BLOCK", 1000)
    np.testing.assert_array_equal(catalogue.matrix()[900:1100], catalogue.items(900, 1100)[0])


def test_items_are_hierarchical_and_heavy_tailed(catalogue):
    vectors, leaves = catalogue.items(0, SIZE)
    n_leaves = len(catalogue.leaves)
    branches = round(n_leaves ** (1 / 3))
    assert branches**3 == n_leaves

    def within(groups):
        return np.mean([vectors[groups == g].var(0).sum() for g in np.unique(groups)])

    widths = [within(leaves // branches**depth) for depth in range(4)]  # leaf, ..., everything
    assert widths == sorted(widths) and widths[0] < 0.6 * widths[-1]
    sizes = np.sort(np.bincount(leaves, minlength=n_leaves))
    assert sizes[-1] > 2 * np.median(sizes)
    # Groups overlap: many items are closer to another leaf's centre than to their own.
    distances = ((vectors[:, None] - catalogue.leaves) ** 2).sum(2)
    assert 0.05 < (distances.argmin(1) != leaves).mean() < 0.9


def test_recall_and_scored_by_hand(searchers, measure):
    # Two lists of two items; the user's best two are items 0 and 2, one in each list.
    items = np.array([[4, 0], [1, 0], [0, 3], [0, 1]], dtype=np.float32)
    parents = (np.array([0, 0, 1, 1]),)
    index = importlib.import_module("recbole_hill.index.hierarchy").HierarchicalIndex.build(
        list("abcd"), parents, items
    )
    setting = searchers.Setting(items, (2,), own_index=index)
    users = np.ones((3, 2), dtype=np.float32)
    truth = searchers.Flat(setting).find(users, 2)[0]
    np.testing.assert_array_equal(truth, [[0, 2]] * 3)
    meter = measure.Meter(measure.Queries(users, truth), 2, seconds=0.01, repeats=2, singles=2)
    for kind in (searchers.HillBeam, searchers.HillFaissBeam, searchers.HillFaissNodes):
        one, both = (meter.look(kind(setting), width) for width in (1, 2))
        assert (one.recall, one.scored) == (0.5, 4)  # two nodes and the list's two items
        assert (both.recall, both.scored) == (1, 4)  # all lists: the nodes are not scored
    timed = meter.time(searchers.Flat(setting), one)
    assert timed.repeats == 2 and timed.rates[0] <= timed.rate <= timed.rates[1]
    assert 0 < timed.median <= timed.p99


def test_recall_counts_listed_items_only(measure):
    truth = np.array([[1, 2, -1], [3, 4, 5]])
    found = np.array([[2, 9, -1], [5, 4, 3]])
    assert measure.recall(truth, found) == 4 / 5


def test_seen_items_are_dropped_from_longer_lists(searchers):
    found = np.array([[5, 1, 2, -1], [1, 0, 5, 3]])
    rows, items = np.array([0, 1, 1]), np.array([1, 1, 5])
    np.testing.assert_array_equal(
        searchers.drop_seen(found, rows, items, 3), [[5, 2, -1], [0, 3, -1]]
    )


def test_every_searcher_agrees_with_exact_at_its_widest(setting, searchers, catalogue, monkeypatch):
    monkeypatch.setattr(searchers, "CODEBOOKS", 2)  # more take seconds to train
    users = catalogue.users(40)
    seen = torch.arange(40), torch.arange(40) * 7
    exact = searchers.Exact(setting)
    for key, kind in searchers.SEARCHERS.items():
        searcher = kind(setting)
        searcher.at(2048 if key == "hnsw" else max(searcher.widths))
        for given in (None, seen):
            truth = exact.find(users, 5, given)[0]
            found, scored = searcher.find(users, 5, given)
            least = 0.9 if key in ("hnsw", "rq") else 1.0
            assert (found == truth).mean() >= least, key
            assert scored > 0 and searcher.mib > 0 and searcher.seconds >= 0
            assert given is None or not (found == seen[1].numpy()[:, None]).any()


def test_the_sweep_finds_the_least_width_that_is_enough(setting, searchers, measure, catalogue):
    users = catalogue.users(60)
    truth = searchers.Flat(setting).find(users, 5)[0]
    meter = measure.Meter(measure.Queries(users, truth), 5, 0.01, repeats=1, singles=1)
    searcher = searchers.IvfFlat(setting)
    recalls = [meter.look(searcher, width).recall for width in range(1, 33)]
    least = 1 + next(n for n, share in enumerate(recalls) if share >= 0.9)
    assert meter.least(searcher, 0.9).width == least
    points = meter.sweep(searcher, 0.9)
    assert least in [point.width for point in points]
    assert [point.width for point in points] == sorted({point.width for point in points})
    assert measure.best(points, 0.9).width == least
    assert measure.best([point for point in points if point.recall < 0.9], 0.9) is None


@pytest.fixture
def run(capsys):
    def call(*arguments) -> str:
        threads = torch.get_num_threads()
        quick = ("--queries=100", "--seconds=.01", "--singles=3", "--threads=1", "--dim=16")
        importlib.import_module("retrieval").main([*quick, *arguments])
        torch.set_num_threads(threads)
        return capsys.readouterr().out

    return call


def test_the_script_writes_table_points_and_curves(run, tmp_path):
    some = "--searchers=flat,ivf,hill-beam,hill-faiss"
    shown = run("--items=2000", "--nodes=16,4", "--iterations=3", some, f"--output={tmp_path}")
    files = {file.suffix: file for file in tmp_path.iterdir()}
    assert set(files) == {".md", ".json", ".svg", ".png"}
    assert {file.stem for file in files.values()} == {"retrieval-2000"}
    table = files[".md"].read_text(encoding="utf-8")
    assert table in shown and "| HILL-FAISS, beam | " in table
    facts = json.loads(files[".json"].read_text(encoding="utf-8"))
    assert {point["searcher"] for point in facts["points"]} == set(facts["searchers"])
    assert files[".png"].read_bytes()[1:4] == b"PNG"


def test_growth_says_how_the_cost_grows(run, tmp_path):
    more = "--searchers=ivf,hill-nodes"
    shown = run("--grow=500,2000", "--iterations=3", more, f"--output={tmp_path}")
    for name in ("FAISS Flat", "FAISS IVFFlat, L2 lists", "HILL-FAISS, nodes", "HILL-FAISS, beam"):
        assert shown.count(f"| {name} |") == 2
    assert "scored items grow with items^" in shown
    assert {file.suffix for file in tmp_path.iterdir()} == {".md", ".json", ".svg", ".png"}


@pytest.mark.parametrize("script", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.stem)
def test_every_script_of_the_folder_finds_the_names_that_it_imports(script):
    importlib.import_module(".".join(script.relative_to(BENCHMARKS).with_suffix("").parts))
