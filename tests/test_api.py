"""The package from Python: what its functions return, against the files and by hand."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FAST, tiny_settings

import recbole_hill as rh
from recbole_hill.api import dataset as datasets
from recbole_hill.api.quiet import in_python
from recbole_hill.host import waiting
from recbole_hill.model.baselines.bpr import BPR
from recbole_hill.report.seeds import read_rows
from recbole_hill.report.significance import paired_test
from recbole_hill.serve.export import export

ROOT = Path(__file__).resolve().parents[1]
#: Settings of evaluation; every model has them.
SHORT = {"topk": [5, 10], "valid_metric": "NDCG@10", "state": "ERROR", "threads": 1}


@pytest.fixture(scope="module")
def tiny(tiny_path) -> rh.Dataset:
    return rh.Dataset.load("tiny", tiny_path)


@pytest.fixture(scope="module")
def hill(run_folder) -> rh.Run:
    return rh.load(run_folder)


@pytest.fixture(scope="module")
def comparison(tiny, tmp_path_factory):
    class Mine(BPR):
        """A class of the program's own."""

    arguments = {"seeds": 2, "folder": tmp_path_factory.mktemp("studies"), "epochs": 3, **SHORT}
    return rh.compare(["BPR", Mine], tiny, **arguments), arguments, Mine


# -- the package ------------------------------------------------------------------------------


def test_importing_the_package_imports_no_library():
    program = (
        "import sys, recbole_hill as rh; assert 'fit' in dir(rh); "
        "print(sorted({'numpy', 'pandas', 'torch', 'recbole', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout == "[]\n"


def test_the_public_names_are_there_and_in_the_stub():
    stub = (ROOT / "recbole_hill" / "__init__.pyi").read_text()
    for name in rh.__all__:
        assert getattr(rh, name).__doc__
        assert f" as {name}\n" in stub or f"def {name}(" in stub
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        rh.fitt  # noqa: B018


def test_a_program_that_imported_torch_first_gets_one_thread_more(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    before = torch.get_num_threads()
    try:
        for came_first, chosen, expected in [
            (True, cores, cores + 1),
            (True, cores + 3, cores + 3),
            (False, cores, cores),
        ]:
            monkeypatch.setattr(rh, "TORCH_CAME_FIRST", came_first)
            torch.set_num_threads(chosen)
            waiting.wait_passively()
            assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


# -- a run ------------------------------------------------------------------------------------


def test_a_run_is_what_its_files_say(hill, run_folder):
    rows = read_rows([run_folder])
    assert hill.metrics == rows[-1]["metrics"] and rows[-1]["arm"] == "HILL"
    assert hill.rows["arm"].tolist() == [row["arm"] for row in rows]
    assert hill.rows["ndcg@10"].tolist() == [row["metrics"]["ndcg@10"] for row in rows]
    assert hill.settings["nodes_per_depth"] == FAST["nodes_per_depth"]
    for name, mean in hill.per_user().mean().items():
        assert mean == pytest.approx(hill.metrics[name], abs=1e-6)


def test_lists_and_paths_of_a_run(hill, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lists = hill.recommend(["42", 17, np.int64(3)], k=4)
    assert list(lists) == ["user", "rank", "item", "score"]
    assert lists["user"].tolist() == ["42"] * 4 + ["17"] * 4 + ["3"] * 4
    assert lists["rank"].tolist() == [1, 2, 3, 4] * 3
    assert (lists.groupby("user")["score"].diff().dropna() <= 0).all()
    text = hill.explain(42, k=2)
    assert repr(text) == str(text) and text.splitlines()[0] == "user 42"
    assert lists["item"].iloc[0] in text
    with pytest.raises(ValueError, match="user '4711' is not in tiny, which has 80 users"):
        hill.recommend("4711")


def test_representations_show_plain_numbers(hill):
    assert repr(hill).startswith("Run(HILL on tiny, holdout, seed 2020: recall@5 0.")
    for shown in (repr(hill), hill._repr_html_()):
        assert "np." not in shown and "float64" not in shown


def test_scores_are_products_of_a_runs_vectors(hill):
    users, items = hill.vectors
    assert len(hill.users) == len(users) == 80 and len(hill.items) == len(items) == 48
    assert hill.index.items.tolist() == hill.items.tolist()
    row = hill.users.tolist().index("42")
    best = hill.recommend("42", k=1).iloc[0]
    column = hill.items.tolist().index(best["item"])
    assert best["score"] == pytest.approx(users[row] @ items[column], abs=1e-5)


def test_paths_are_shown_from_the_working_folder_or_from_home(hill, monkeypatch, tmp_path):
    monkeypatch.chdir(hill.folder.parent)
    assert f"; {hill.folder.name})" in repr(hill)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(hill.folder.parent.parent))
    assert f"; ~/{hill.folder.parent.name}/{hill.folder.name})" in repr(hill)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"; {hill.folder})" in repr(hill)


def test_a_run_leaves_the_terminal_and_the_programs_log_alone(tiny, tmp_path, capfd):
    own, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(own)
    handlers = root.handlers[:]
    level = root.level
    settings = {"epochs": 2, "embedding_size": 8, **SHORT, "state": "INFO"}
    run = rh.fit("BPR", tiny, run_dir=tmp_path / "run", **settings)
    rh.compare(["BPR"], tiny, seeds=1, folder=tmp_path / "studies", **settings)
    written = capfd.readouterr()
    assert "epoch" not in written.out + written.err and "BPR, seed" not in written.err
    assert repr(run).endswith(f"\nwarning: {run.warnings[-1]}")
    assert "training ended at epochs=2" in run.warnings[0] and "epochs=2" in run._repr_html_()
    assert "epoch 1 of 2: loss" in (run.folder / "run.log").read_text()
    assert root.handlers == handlers and root.level == level
    root.removeHandler(own)
    rh.fit("BPR", tiny, run_dir=tmp_path / "shown", verbose=True, **settings)
    assert "epoch 1 of 2: loss" in capfd.readouterr().err


def test_plots_draw_the_curves_and_the_index(hill):
    pytest.importorskip("matplotlib").use("Agg")
    curves = hill.plot.curves()
    assert [epoch for epoch, _ in curves["Loss/Train"]] == [0, 1, 2, 3]
    score = hill.plot.training()
    assert score.lines[0].get_ydata().tolist() == [value for _, value in curves["Vaild_score"]]
    best = hill.records[0]["stages"]["backbone"]["valid_score"]
    assert max(value for _, value in curves["Vaild_score"]) == pytest.approx(best, abs=1e-6)
    widths = [bar.get_width() for bar in hill.plot.index().patches]
    assert len(widths) == 12 + 4 and sum(widths) == pytest.approx(2 * 2 * np.pi)


def test_a_plot_without_matplotlib_names_the_extra(hill, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"a plot needs matplotlib.*extra `plots`"):
        hill.plot.index()


def test_fit_trains_a_class_of_the_programs_own(tiny, tiny_path, tmp_path):
    class Own(BPR):
        """BPR under another name: the same numbers."""

    settings = {"epochs": 2, "embedding_size": 8, **SHORT, "show_progress": False}
    runs = [rh.fit(m, tiny, run_dir=tmp_path / str(m), **settings) for m in ("BPR", Own)]
    assert runs[0].metrics == runs[1].metrics
    assert [run.name for run in runs] == ["BPR", "Own"]
    assert "Own" in set(rh.models()["model"])
    assert runs[0].settings["data_path"] == str(tiny_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("LigthGCN", r"unknown model 'LigthGCN'; did you mean LightGCN"),
        (dict, "model class dict must derive from a model of RecBole's kind"),
        (7, "model must be a name or a class, got 7"),
    ],
)
def test_wrong_models_are_named(tiny, model, message):
    with pytest.raises(ValueError, match=message):
        rh.fit(model, tiny)


def test_wrong_settings_are_named(tiny, tmp_path):
    with pytest.raises(ValueError, match="unknown key 'epoch' for model BPR; did you mean epochs"):
        rh.fit("BPR", tiny, run_dir=tmp_path / "run", epoch=3)
    with pytest.raises(FileNotFoundError, match="is not a run's folder"):
        rh.load(tmp_path)


# -- data -------------------------------------------------------------------------------------


@pytest.fixture
def frame(tiny_path) -> pd.DataFrame:
    lines = (tiny_path / "tiny" / "tiny.train.inter").read_text().splitlines()[1:]
    pairs = [line.split("\t")[:2] for line in lines]
    frame = pd.DataFrame(pairs, columns=["customer", "sku"])
    return frame.assign(customer="c" + frame["customer"], at=range(len(frame)))


def test_a_frame_becomes_a_dataset_once(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    columns = {"user": "customer", "item": "sku", "time": "at"}
    data = rh.Dataset.from_pandas(frame, **columns)
    file = tmp_path / "cache" / data.name / f"{data.name}.inter"
    written = file.stat().st_mtime_ns
    assert rh.Dataset.from_pandas(frame.copy(), **columns) == data
    assert file.stat().st_mtime_ns == written
    other = rh.Dataset.from_pandas(frame.iloc[1:], **columns)
    assert other.name != data.name
    run = rh.fit("BPR", data, run_dir=tmp_path / "run", epochs=1, show_progress=False, **SHORT)
    known = run.recommend("c42", k=40)["item"]
    assert not set(known) - set(frame["sku"]) and len(known) > 10


def test_advice_to_a_program_is_in_python(frame, tmp_path):
    columns = {"user": "customer", "item": "sku", "folder": tmp_path}
    data = rh.Dataset.from_pandas(frame[["customer", "sku"]], **columns)
    assert 'no time and no rating (time="COLUMN" names one)' in data.summary
    with pytest.raises(ValueError, match=r'^time="when": .* no such column'):
        rh.Dataset.from_pandas(frame, **columns, time="when")
    assert in_python("try --epochs=20 (or [--item=3] --tune=30m, --time=none): x") == (
        'try epochs=20 (or [item=3] tune="30m", time="none"): x'
    )


def test_a_plot_that_is_called_names_the_pictures(hill):
    with pytest.raises(TypeError, match=r"plot\.training\(\) or plot\.index\(\)"):
        hill.plot()


@pytest.mark.parametrize("model", ["Pop", "NeuMF", "LightGCN"])
def test_a_run_that_is_served_by_its_model_does_not_warn_of_recboles_code(tiny, tmp_path, model):
    run = rh.fit(model, tiny, run_dir=tmp_path / "run", epochs=1, **SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert len(rh.load(run.folder).recommend("3", k=4)) == 4


def test_a_comparison_shows_the_lists_that_validation_judges(tiny, tmp_path):
    settings = {**SHORT, "topk": [5, 10, 20], "seeds": 1, "folder": tmp_path}
    table = rh.compare(["Pop"], tiny, **settings).table()
    assert table.columns.tolist() == ["recall@10", "recall@10 sd", "ndcg@10", "ndcg@10 sd"]
    settings |= {"metrics": ["Recall", "MRR"], "valid_metric": "MRR@5"}
    table = rh.compare(["Pop"], tiny, **settings).table()
    assert table.columns.tolist()[::2] == ["mrr@5", "recall@5"]


def test_parts_are_the_rows_that_a_run_has(frame, tmp_path):
    columns = {"user": "customer", "item": "sku", "time": "at"}
    data = rh.Dataset.from_pandas(frame, **columns, folder=tmp_path)
    parts = data.parts(split="leave_one_out")
    rows = pd.concat(parts)[["user", "item"]]
    wanted = frame.drop_duplicates(["customer", "sku"])
    assert set(map(tuple, rows.to_numpy())) == set(
        zip(wanted["customer"], wanted["sku"], strict=True)
    )
    assert repr(parts) == f"Parts(train {len(wanted) - 160} rows, valid 80 rows, test 80 rows)"
    last = frame.sort_values("at").groupby("customer")["sku"].last()
    assert parts.test.set_index("user")["item"].to_dict() == last.to_dict()
    assert (
        parts.test["timestamp"].tolist()
        == frame.groupby("customer")["at"].max().loc[parts.test["user"]].tolist()
    )
    perfect = parts.test.assign(rank=1)
    assert rh.evaluate(perfect, data, split="leave_one_out", topk=[5]).metrics["recall@5"] == 1.0


def test_wrong_data_are_named(frame, tiny_path, tmp_path):
    with pytest.raises(ValueError, match=r"data must be a Dataset.*Dataset\.from_pandas"):
        rh.fit("BPR", frame)
    with pytest.raises(ValueError, match=r"from_pandas takes a pandas\.DataFrame, got str"):
        rh.Dataset.from_pandas("orders.csv")
    with pytest.raises(FileNotFoundError, match=r"dataset 'tyni' is not in .*; did you mean tiny"):
        rh.Dataset.load("tyni", tiny_path)
    with pytest.raises(FileNotFoundError, match=r"file .*none\.csv does not exist"):
        rh.Dataset.from_file(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "X/recbole_hill"),
        ("win32", "LOCALAPPDATA", "X/recbole_hill"),
    ],
)
def test_the_cache_is_where_the_system_has_it(monkeypatch, platform, variable, expected):
    monkeypatch.setattr(datasets.sys, "platform", platform)
    monkeypatch.setenv(variable, "X")
    assert datasets.cache_folder() == Path(expected)


# -- lists of others --------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["rank", "score"])
def test_exported_lists_have_exactly_the_runs_metrics(hill, tiny, tmp_path, by):
    export(hill.folder, tmp_path / "out", k=10)
    lists = pd.read_csv(tmp_path / "out" / "recommendations.csv")[["user", "item", by]]
    lists = lists.sample(frac=1.0, random_state=0)  # the order of rows says nothing
    for data, settings in ((tiny, {"topk": [5, 10]}), (hill, {})):
        judged = rh.evaluate(lists, data, **settings)
        assert judged.metrics == hill.metrics and judged.notes == ()
        own = hill.per_user()
        pd.testing.assert_frame_equal(judged.per_user().loc[own.index], own)


def test_lists_by_hand(tiny, tiny_path):
    def pairs(part):
        lines = (tiny_path / "tiny" / f"tiny.{part}.inter").read_text().splitlines()[1:]
        found = {}
        for user, item in (line.split("\t")[:2] for line in lines):
            found.setdefault(user, []).append(item)
        return found

    train, test = pairs("train"), pairs("test")
    wrong = next(str(i) for i in range(48) if str(i) not in {*train["0"], *test["0"]})
    rows = [("0", item, rank) for rank, item in enumerate([train["0"][0], "nowhere", wrong])]
    rows += [("0", test["0"][0], 8), ("0", wrong, 9)]  # 2nd, once the first two are left out
    rows += [("1", item, rank) for rank, item in enumerate(test["1"])]
    rows += [("stranger", "3", 1)]
    judged = rh.evaluate(pd.DataFrame(rows, columns=["user", "item", "rank"]), tiny, topk=[5])
    table = judged.per_user()
    assert len(table) == 80 and test.keys() == set(table.index)
    assert table.loc["0", "recall@5"] == pytest.approx(1 / 2)
    assert table.loc["0", "ndcg@5"] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert table.loc["1"].tolist() == [1.0, 1.0]
    assert table.drop(index=["0", "1"]).to_numpy().sum() == 0
    assert judged.metrics["recall@5"] == pytest.approx(1.5 / 80, abs=1e-6)
    assert [note.split(":")[0] for note in judged.notes] == [
        "1 rows repeat an item of a list",
        "78 of 80 test users have no list",
        "2 test users have lists of fewer than 5 items",
        "1 users of the lists are no test users",
        "1 listed items are not in tiny (such as 'nowhere')",
        "1 listed items are of their user's train or validation set",
    ]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (pd.DataFrame({"user": ["1"], "sku": ["2"]}), "columns user, item, and rank or score; got"),
        (pd.DataFrame({"user": [], "item": [], "rank": []}), "must have at least one row"),
        (
            pd.DataFrame({"user": ["x"], "item": ["2"], "rank": [1]}),
            "no user of the lists is",
        ),
        (pd.DataFrame({"user": ["1"], "item": ["2"], "score": [None]}), "column score must have"),
        ([1, 2], "lists must be a data frame .*; got list"),
    ],
)
def test_wrong_lists_are_named(tiny, lists, message):
    with pytest.raises(ValueError, match=message):
        rh.evaluate(lists, tiny, topk=[5])


# -- comparisons ------------------------------------------------------------------------------


def test_a_comparison_is_the_mean_over_its_runs(comparison):
    compared, _, _ = comparison
    table = compared.table()
    assert table.index.tolist() == ["BPR", "Mine"]
    rows = read_rows([f for f in (compared.folder / "runs").iterdir() if f.is_dir()])
    for name in table.index:
        values = [row["metrics"]["ndcg@10"] for row in rows if row["model"] == name]
        assert len(values) == 2 and values[0] != values[1]
        assert table.loc[name, "ndcg@10"] == pytest.approx(np.mean(values))
        assert table.loc[name, "ndcg@10 sd"] == pytest.approx(np.std(values, ddof=1))
    assert "np." not in repr(compared) and "<table" in compared._repr_html_()


def test_the_runs_of_a_comparison_by_model_and_seed(comparison, monkeypatch):
    compared, _, _ = comparison
    opened = []
    monkeypatch.setattr("recbole_hill.api.runs.Run", lambda f: opened.append(f) or rh.load(f))
    runs = rh.Comparison(compared._planned).runs
    assert list(runs) == [(name, seed) for seed in (2020, 2021) for name in ("BPR", "Mine")]
    assert not opened  # until one is asked for
    run = runs["Mine", 2021]
    assert (run.name, run.served["seed"]) == ("Mine", 2021)
    assert runs["Mine", 2021] is run and len(opened) == 1
    seeds = [runs["BPR", seed].metrics["ndcg@10"] for seed in (2020, 2021)]
    assert np.mean(seeds) == pytest.approx(compared.table().loc["BPR", "ndcg@10"])
    assert len(runs["BPR", 2020].recommend(["3"], k=4)) == 4
    with pytest.raises(KeyError, match=r"'BPR' is no finished run.*one of: \('BPR', 2020\), "):
        runs["BPR"]


def test_a_comparison_goes_on_and_trains_nothing_twice(comparison, tiny):
    compared, arguments, mine = comparison
    before = (compared.folder / "cells.jsonl").read_text()
    again = rh.compare(["BPR", mine], tiny, **arguments)
    pd.testing.assert_frame_equal(again.table(), compared.table())
    assert (compared.folder / "cells.jsonl").read_text() == before
    alone = rh.compare(["Pop"], tiny, **{**arguments, "epochs": 1})
    assert alone.table().index.tolist() == ["Pop"]
    assert compared.table().index.tolist() == ["BPR", "Mine"]


def test_lists_of_others_stand_in_the_table_with_tests(comparison, tiny, hill, tmp_path):
    _, arguments, mine = comparison
    compared = rh.compare(["BPR", mine], tiny, **arguments)
    judged = rh.evaluate(hill.recommend(range(80), k=10), tiny, name="theirs", topk=[5, 10])
    table = compared.add(judged).table()
    assert ("BPR", 2020) in compared.runs and len(compared.runs) == 4  # "theirs" is no run
    assert table.index.tolist() == ["BPR", "Mine", "theirs"]
    assert table.loc["theirs", "ndcg@10"] == hill.metrics["ndcg@10"]
    tests = compared.significance("BPR").set_index(["model", "metric"])
    runs = {
        (run.name, run.served["seed"]): run
        for f in (compared.folder / "runs").iterdir()
        if (f / "rows.jsonl").is_file()
        for run in [rh.load(f)]
    }
    bpr = runs["BPR", 2020].per_user()["ndcg@10"]
    expected = paired_test(hill.per_user()["ndcg@10"].loc[bpr.index], bpr)
    found = tests.loc[("theirs", "ndcg@10")]
    assert found["difference"] == pytest.approx(expected.mean_difference)
    assert found["users"] == 80 and found["t_p"] >= expected.t_p
    files = compared.report("BPR")
    assert "| theirs |" in files["markdown"].read_text()
    assert "Not run yet" not in files["markdown"].read_text()


def test_significance_of_two(hill, tiny):
    judged = rh.evaluate(hill.recommend(range(80), k=5), tiny, topk=[5, 10])
    (row,) = rh.significance(hill, judged, metric="ndcg@10").to_dict("records")
    expected = paired_test(
        hill.per_user()["ndcg@10"], judged.per_user()["ndcg@10"].loc[hill.per_user().index]
    )
    assert (row["model"], row["reference"], row["users"]) == ("HILL", "mine", 80)
    assert row["difference"] == pytest.approx(expected.mean_difference) and row["difference"] > 0
    assert row["t_p"] == pytest.approx(expected.t_p)
    with pytest.raises(ValueError, match=r"no values per user of 'ndcg@7'; it has recall@5"):
        rh.significance(hill, judged, metric="ndcg@7")


def test_a_model_that_fails_costs_its_row_only(tiny, tmp_path):
    rows = {"good": {"model": "Pop"}, "bad": {"model": "HILL", "nodes_per_depth": [900, 4]}}
    compared = rh.compare(rows, tiny, seeds=[1], folder=tmp_path, **SHORT)
    assert compared.table()["ndcg@10"].notna().tolist() == [True, False]
    assert compared.failures == {"bad": "nodes_per_depth has 900 nodes for 48 items"}
    assert list(compared.runs) == [("good", 1)]


def test_wrong_comparisons_are_named(tiny, tmp_path):
    class Local(BPR):
        pass

    for models, arguments, message in [
        ([], {}, "models must name at least one model"),
        (["BPRR"], {}, "unknown model 'BPRR'; did you mean"),
        (["BPR"], {"seeds": 0}, "seeds must be an integer >= 1, got 0"),
        (["BPR"], {"jobs": 0}, "jobs must be an integer >= 1, got 0"),
        ([Local], {"jobs": 2}, "jobs 2 needs Local in a plugin"),
        ({"row": {"epochs": 1}}, {}, "row 'row' must say its model"),
    ]:
        with pytest.raises(ValueError, match=message):
            rh.compare(models, tiny, folder=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_command_line_and_of_python_are_the_same(hill, tiny_path):
    expected = tiny_settings(tiny_path, "HILL", adapt_control=[])
    assert {key: hill.settings[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"metrics": ["AUC"], "eval_args": {"mode": "labeled"}}, "AUC"),
        ({"metrics": "MRR", "topk": 3}, "MRR@3"),
    ],
)
def test_a_split_names_a_metric_that_is_measured(tiny_path, settings, named):
    data = rh.Dataset.load("tiny", tiny_path)
    assert datasets.config_of(data, None, settings)["valid_metric"] == named
