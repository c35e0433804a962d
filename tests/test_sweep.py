"""Sweeps: chosen on validation, tested once, resumable, every trial accounted for."""

import contextlib
import importlib
import json
from argparse import Namespace

import pytest
import yaml
from conftest import tiny_settings
from recbole.data.dataloader import FullSortEvalDataLoader

import recbole_hill as rh
from recbole_hill import pipeline
from recbole_hill.cli import main
from recbole_hill.config.dialect import written_setting
from recbole_hill.data.splits import SealedTest, load_data
from recbole_hill.experiments.sweep.space import Space
from recbole_hill.experiments.sweep.sweep import run_sweep
from recbole_hill.experiments.sweep.trial import Trials, best_trial, run_trial, trial_id
from recbole_hill.experiments.sweep.tuned_run import resume_tuned, run_tuned
from recbole_hill.model.baselines.bpr import BPR
from recbole_hill.pipeline import run
from recbole_hill.report.sweep import budget_note, sweep_table
from recbole_hill.run.files import alone_in
from recbole_hill.run.hashes import changed_files
from recbole_hill.run.ledger import Ledger

tune = pytest.importorskip("ray.tune", reason="the extra [tune] brings it")
if not hasattr(tune, "RunConfig"):
    pytest.skip("Ray is as old as RecBole 1.2.1 wants it", allow_module_level=True)
ray_search = importlib.import_module("recbole_hill.experiments.sweep.ray_search")

RATES = {"learning_rate": {"choice": [0.02, 0.01, 1.0e-8]}}


@pytest.fixture(scope="module")
def ray_session():
    with ray_search.session(None, cpus=2):
        yield


@pytest.fixture(scope="module")
def fast(tiny_path):
    """Settings of BPR on the tiny dataset that a trial needs a second for."""
    own = {"epochs": 3, "n_negatives": 4, "init_std": 0.1, "threads": 1, "show_progress": False}
    return tiny_settings(tiny_path, "BPR", **own)


@pytest.fixture(scope="module")
def grid_sweep(fast, ray_session, tmp_path_factory):
    """A finished grid of two cells, of which one fails, and the arguments that it was made by."""
    arguments = {
        "space": {"learner": {"choice": ["sparse_adam", "adam"]}},  # BPR's gradients are dense
        "strategy": "grid",
        "jobs": 2,
        "output": tmp_path_factory.mktemp("sweep") / "grid",
        "overrides": fast,
    }
    return run_sweep("BPR", "tiny", **arguments), arguments


# -- the test set -----------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """Records which loaders are read, and the data that they belong to."""
    seen = Namespace(read=[], data=[])
    read, load = FullSortEvalDataLoader.__iter__, load_data

    def watched_read(self):
        seen.read.append(self)
        return read(self)

    def watched_load(config):
        seen.data.append(load(config))
        return seen.data[-1]

    monkeypatch.setattr(FullSortEvalDataLoader, "__iter__", watched_read)
    monkeypatch.setattr(pipeline, "load_data", watched_load)
    return seen


@pytest.mark.parametrize("model", ["BPR", "HILL"])
def test_a_trial_reads_validation_and_never_the_test_set(model, tiny_path, tmp_path, watched):
    overrides = tiny_settings(tiny_path, model, threads=1)
    reports = []
    run_trial(Trials(model, "tiny", tmp_path, [], overrides), {}, reports.append)
    (data,) = watched.data
    assert reports[-1]["finished"]
    assert any(loader is data.valid for loader in watched.read)
    assert not any(loader is data.test for loader in watched.read)
    # The watch does see a reading: the winner's.
    run(resume=str(tmp_path / "trials" / trial_id({})))
    assert any(loader is watched.data[-1].test for loader in watched.read)


def test_a_poisoned_test_set_fails_whoever_reads_it(fast, tmp_path, monkeypatch):
    """A trial holds no test set: what would read it raises, so the search would fail."""
    settings = {"learning_rate": 0.02}
    trials = Trials("BPR", "tiny", tmp_path, [], fast)
    run_trial(trials, settings, lambda report: None)
    config = trials.config(settings)
    data = pipeline.load(config).without_test()
    trainer = pipeline.build(config, data)
    arms = pipeline.fit(trainer, data.train, data.valid)
    assert isinstance(data.test, SealedTest)
    with pytest.raises(RuntimeError, match="test set must not be read"):
        pipeline.evaluate(trainer, arms, data)
    for read in (iter, len, lambda test: test._dataset):
        with pytest.raises(RuntimeError, match="test set must not be read"):
            read(data.test)


@pytest.mark.parametrize("protocol", ["published", "refit"])
def test_protocols_that_choose_on_the_test_set_or_nothing_are_refused(protocol, fast, tmp_path):
    with pytest.raises(ValueError, match=f"protocol must be holdout, got '{protocol}'"):
        run_sweep(
            "BPR", "tiny", space=RATES, output=tmp_path, overrides={**fast, "protocol": protocol}
        )
    file = tmp_path / "mine.yaml"
    file.write_text(f"protocol: {protocol}\n")
    with pytest.raises(ValueError, match=f"protocol must be holdout, got '{protocol}'"):
        run_sweep("BPR", "tiny", space=RATES, config_files=[str(file)], overrides=fast)


# -- what a trial reports ---------------------------------------------------------------------


def test_a_trial_reports_the_best_so_far_and_its_run_keeps_the_last(fast, tmp_path):
    reports = []
    trials = Trials("BPR", "tiny", tmp_path, [], fast)
    run_trial(trials, {"learning_rate": 0.02}, reports.append)
    stages = json.loads((trials.run_dir({"learning_rate": 0.02}) / "stages.json").read_text())
    scores = [report["score"] for report in reports]
    assert [report["epochs"] for report in reports] == [1, 2, 3, 3]
    assert [report["finished"] for report in reports] == [False, False, False, True]
    assert scores == sorted(scores)
    assert scores[-1] == stages["backbone"]["valid_score"] == stages["backbone"]["valid"]["ndcg@10"]
    assert reports[-1]["seconds"] == stages["backbone"]["seconds"] >= reports[0]["seconds"] > 0


def test_hill_is_judged_by_its_final_choice(tiny_path, tmp_path):
    reports = []
    changes = {"backbone": "LightGCN-BSL", "pair_form": "rows", "em_rounds": 0}
    changes |= {"interest_thresholds": [0.3, 0.3], "adapt_control": []}
    overrides = tiny_settings(tiny_path, "HILL", threads=1, **changes)
    del overrides["ssl_warmup_epochs"]  # NESCL's
    trials = Trials("HILL", "tiny", tmp_path, [], overrides)
    run_trial(trials, {"ttt_learning_rate": 0.02}, reports.append)
    stages = json.loads((trials.run_dir({"ttt_learning_rate": 0.02}) / "stages.json").read_text())
    assert [report["epochs"] for report in reports] == [1, 2, 3, 4, 4]
    assert stages["HILL"]["kept"] == "adapted"
    assert reports[-1]["score"] == stages["HILL"]["valid_score"]
    assert reports[-2]["score"] == stages["backbone"]["valid_score"] < reports[-1]["score"]


def test_the_folder_goes_by_the_searched_settings_alone():
    assert trial_id({"a": 1, "b": [2]}) == trial_id({"b": [2], "a": 1}) != trial_id({"a": 1})


# -- sweeps on Ray ----------------------------------------------------------------------------


def test_a_grid_has_a_row_for_every_cell_also_where_one_fails(grid_sweep):
    result, arguments = grid_sweep
    lines = (arguments["output"] / "trials.jsonl").read_text().splitlines()
    failed, done = sorted((json.loads(line) for line in lines), key=lambda row: row["trial"])
    assert (failed["status"], failed["score"], failed["settings"]) == (
        "failed",
        None,
        {"learner": "sparse_adam"},
    )
    assert failed["error"].startswith("RuntimeError: SparseAdam")
    assert (done["status"], done["epochs"], done["error"]) == ("done", 3, None)
    assert all(len(record.pop("hash")) == 12 for record in (done, failed))
    assert result.trials == [done, failed]
    assert result.best == done
    counts = {"trials": 2, "done": 1, "stopped": 0, "failed": 1, "unfinished": 0}
    hours = round((done["seconds"] + failed["seconds"]) / 3600, 4)
    assert result.budget == {**counts, "hours": hours, "test_readings": 1}


def test_the_best_settings_run_again_to_the_same_numbers(grid_sweep, fast, tmp_path):
    result, arguments = grid_sweep
    best = arguments["output"] / "best.yaml"
    assert yaml.safe_load(best.read_text()) == {"learner": "adam"}
    overrides = {**fast, "run_dir": str(tmp_path / "run")}
    again = run("BPR", "tiny", config_files=[str(best)], overrides=overrides)
    assert again.stages["backbone"]["valid_score"] == result.best["score"]
    (row,) = result.rows
    assert again.rows[0]["metrics"] == row["metrics"]
    assert row["sweep"] == result.budget
    (kept,) = map(json.loads, (arguments["output"] / "rows.jsonl").read_text().splitlines())
    assert kept == row


def test_only_the_best_keeps_its_weights(grid_sweep):
    result, arguments = grid_sweep
    folders = {file.parent.name for file in arguments["output"].rglob("*.safetensors")}
    assert folders == {result.best["id"]}
    assert not (arguments["output"] / "ray").exists()


def test_a_finished_sweep_is_read_not_run(grid_sweep, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("nothing is left to run")

    result, arguments = grid_sweep
    monkeypatch.setattr(ray_search, "search", refuse)
    monkeypatch.setattr(pipeline, "run", refuse)
    again = run_sweep("BPR", "tiny", **arguments)
    assert (again.trials, again.rows, again.budget) == (result.trials, result.rows, result.budget)


def test_the_table_says_scores_errors_and_budget(grid_sweep):
    result, _ = grid_sweep
    table = sweep_table(result)
    lines = table.splitlines()
    assert lines[0].split() == ["trial", "NDCG@10", "epochs", "status", "learner"]
    assert lines[1].split() == ["1", f"{result.best['score']:.4f}", "3", "done", "adam"]
    assert lines[2].split() == ["0", "-", "0", "failed", "sparse_adam"]
    assert lines[3].startswith("trial 0 failed: RuntimeError")
    assert f"{result.rows[0]['metrics']['ndcg@10']:.4f}" in table
    assert "budget: 2 trials (1 done, 0 stopped, 1 failed), 0.00" in table
    assert "--config_files=" in lines[-1]


def test_budget_note_says_what_is_missing_and_how_often_the_test_set_was_read():
    budget = {"trials": 5, "done": 3, "stopped": 2, "failed": 0, "unfinished": 1, "hours": 2.5}
    assert budget_note({**budget, "test_readings": 2}) == (
        "5 trials (3 done, 2 stopped, 0 failed, 1 more not finished), 2.500 hours of training; "
        "test set read 2 times (each time the best had changed)"
    )


@pytest.fixture
def killed_sweep(fast, tmp_path, in_tmp):
    """A sweep of three trials: one is done, one was killed in its second epoch, one has not begun.

    Returns a function that goes on with the sweep and checks the first two trials.
    """
    order = [{"learning_rate": rate} for rate in (0.01, 0.02, 1.0e-8)]
    space = Space.parse(RATES, "tiny")
    seed = next(seed for seed in range(100) if space.draw(3, seed) == order)
    fast = {**fast, "state": "INFO"}  # the log says where a trial resumed
    trials = Trials("BPR", "tiny", tmp_path / "out", [], fast)
    reports = []
    run_trial(trials, order[0], reports.append)
    about = {"trial": 0, "id": trial_id(order[0]), "settings": order[0], "status": "done"}
    record = {**about, **{key: reports[-1][key] for key in ("score", "epochs", "seconds")}}
    Ledger(tmp_path / "out" / "trials.jsonl", "id").append({**record, "error": None})

    def kill(report):
        if report["epochs"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trials, order[1], kill)
    trained = (trials.run_dir(order[0]) / "stages.json").stat().st_mtime_ns

    def go_on() -> list[dict]:
        result = run_sweep(
            "BPR", "tiny", space=RATES, trials=3, seed=seed, overrides=fast, output=tmp_path / "out"
        )
        by_number = sorted(result.trials, key=lambda row: row["trial"])
        assert [row["settings"] for row in by_number] == order
        assert by_number[0] == {**record, "error": None}
        assert (trials.run_dir(order[0]) / "stages.json").stat().st_mtime_ns == trained
        assert "resuming backbone at epoch 1" in (trials.run_dir(order[1]) / "run.log").read_text()
        whole = run("BPR", "tiny", overrides={**fast, **order[1]})
        assert by_number[1]["score"] == whole.stages["backbone"]["valid_score"]
        return by_number

    return go_on


def test_a_killed_sweep_goes_on_where_it_was(killed_sweep, monkeypatch):
    """The trials run in this process, and nothing stops them."""

    def search(trials, pending, *, on_end, **rest):
        for trial in pending:
            reports = []
            run_trial(trials, trial["settings"], reports.append)
            end = {key: reports[-1][key] for key in ("score", "epochs", "seconds")}
            on_end({**trial, "status": "done", **end, "error": None})

    monkeypatch.setattr(ray_search, "search", search)
    monkeypatch.setattr(ray_search, "session", lambda *_: contextlib.nullcontext())
    trials = killed_sweep()
    assert [(row["status"], row["epochs"]) for row in trials] == [("done", 3)] * 3


@pytest.mark.slow
def test_asha_stops_what_lags(killed_sweep, ray_session):
    trials = killed_sweep()
    assert [row["status"] for row in trials] == ["done", "done", "stopped"]
    assert [row["epochs"] for row in trials] == [3, 3, 1]


# -- its parts --------------------------------------------------------------------------------


def test_asha_stops_at_its_rungs_what_is_not_in_the_best_third():
    scheduler = ray_search.asha(bigger=False, epochs=90, eval_step=2)
    trials = [Namespace(trial_id=str(number)) for number in range(3)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)

    def decide(number, epochs, score):
        return scheduler.on_trial_result(None, trials[number], {"epochs": epochs, "score": score})

    assert decide(0, 8, 0.5) == "CONTINUE"
    assert decide(0, 10, 0.5) == "CONTINUE"  # the first there
    assert decide(1, 8, 0.9) == "CONTINUE"  # before the rung
    assert decide(1, 10, 0.9) == "STOP"  # an error that is larger
    assert decide(2, 10, 0.4) == "CONTINUE"
    assert decide(2, 90, 0.4) == "CONTINUE"  # the last epoch: it ends by itself
    assert ray_search.asha(bigger=True, epochs=1, eval_step=1)._max_t == 2


def test_the_ledger_drops_a_torn_line_and_finds_the_best(tmp_path):
    ledger = Ledger(tmp_path / "trials.jsonl", "id")
    assert best_trial(ledger, bigger=True) is None
    for number, (status, score) in enumerate(
        [("done", 0.2), ("stopped", 0.9), ("done", 0.3), ("done", 0.3), ("failed", None)]
    ):
        ledger.append({"trial": number, "id": f"i{number}", "status": status, "score": score})
    before = ledger.records()
    with open(ledger.file, "a") as file:
        file.write('{"trial": 5, "id": "i5", "sta')
    with pytest.warns(UserWarning, match=r"trials\.jsonl, line 6: not a whole record"):
        assert ledger.records() == before
        assert best_trial(ledger, bigger=True)["trial"] == 2
        assert best_trial(ledger, bigger=False)["trial"] == 0
        counts = [len(ledger.with_status(name)) for name in ("done", "stopped", "failed")]
    assert counts == [3, 1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "best"}, "strategy must be one of asha, random, grid, got 'best'"),
        ({"strategy": "grid", "trials": 2}, "trials 2 would leave cells of the grid out: it has 3"),
        ({"jobs": 0}, "jobs must be an integer of at least 1, got 0"),
        ({"trials": 1.5}, "trials must be an integer of at least 1, got 1.5"),
        ({"space": {"n_negative": {"choice": [1]}}}, "unknown key 'n_negative'.*n_negatives"),
        ({"space": {"a": 1}}, "space: a must be one of"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(options, words, fast, tmp_path):
    arguments = {"space": RATES, "overrides": fast, "output": tmp_path / "out", **options}
    with pytest.raises(ValueError, match=words):
        run_sweep("BPR", "tiny", **arguments)
    assert not (tmp_path / "out").exists()


def test_a_warm_start_is_refused(fast, tmp_path):
    with pytest.raises(ValueError, match="warm_start must be empty in a sweep, got 'old'"):
        run_sweep("BPR", "tiny", space=RATES, overrides={**fast, "warm_start": "old"})


def test_an_old_ray_is_refused(monkeypatch):
    monkeypatch.delattr(tune, "RunConfig")
    with pytest.raises(ImportError, match=r"needs Ray 2\.43 or later \(RecBole 1\.2\.0\), here is"):
        run_sweep("BPR", "tiny", space=RATES)


def test_without_ray_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"a sweep needs ray\[tune\].*extra `tune`"):
        run_sweep("BPR", "tiny", space=RATES)


def test_a_folder_of_another_sweep_or_run_is_refused(grid_sweep, run_folder):
    _, arguments = grid_sweep
    overrides = {**arguments["overrides"], "n_negatives": 5}
    with pytest.raises(ValueError, match="holds another sweep: n_negatives is 5 here and 4 there"):
        run_sweep("BPR", "tiny", **{**arguments, "overrides": overrides})
    with pytest.raises(ValueError, match="holds a run; accepted is a sweep's folder"):
        run_sweep("BPR", "tiny", **{**arguments, "output": run_folder})


def test_two_sweeps_do_not_share_a_folder(grid_sweep):
    _, arguments = grid_sweep
    with (
        alone_in(arguments["output"], "busy"),
        pytest.raises(ValueError, match="another sweep is running in"),
    ):
        run_sweep("BPR", "tiny", **arguments)


def test_if_no_trial_finishes_it_says_why(fast, tmp_path, monkeypatch):
    def fail(trials, pending, *, on_end, **rest):
        end = {"status": "failed", "score": None, "epochs": 0, "seconds": 1.0, "error": "E: no"}
        for trial in pending:
            on_end({**trial, **end})

    monkeypatch.setattr(ray_search, "search", fail)
    arguments = {"space": RATES, "strategy": "grid", "overrides": fast}
    with pytest.raises(ValueError, match=r"no trial of .* finished; trial 0: E: no"):
        run_sweep("BPR", "tiny", **arguments, output=tmp_path / "failed")
    monkeypatch.setattr(ray_search, "search", lambda *rest, **options: None)
    with pytest.raises(ValueError, match=r"no trial of .* finished in time; call it again"):
        run_sweep("BPR", "tiny", **arguments, output=tmp_path / "late")


# -- a run that searches first ----------------------------------------------------------------


@pytest.fixture
def in_process(monkeypatch):
    """Runs the trials of a search in this process, and nothing stops them; counts the searches."""
    calls = []

    def search(trials, pending, *, on_end, **rest):
        calls.append(len(pending))
        for trial in pending:
            reports = []
            run_trial(trials, trial["settings"], reports.append)
            end = {key: reports[-1][key] for key in ("score", "epochs", "seconds")}
            on_end({**trial, "status": "done", **end, "error": None})

    monkeypatch.setattr(ray_search, "search", search)
    monkeypatch.setattr(ray_search, "session", lambda *_: contextlib.nullcontext())
    return calls


@pytest.mark.parametrize("protocol", ["holdout", "refit"])
def test_a_tuned_run_trains_the_best_settings(fast, tmp_path, in_process, protocol):
    given = {**fast, "run_dir": str(tmp_path / "run"), "protocol": protocol}
    result = run_tuned("BPR", "tiny", "2", overrides=given)
    ledger = Ledger(tmp_path / "run" / "sweep" / "trials.jsonl", "id").records().values()
    best = max(ledger, key=lambda record: record["score"])
    assert len(ledger) == 2 and in_process == [2]
    row = result.rows[0]
    assert row["tune"]["settings"] == best["settings"] and row["tune"]["score"] == best["score"]
    assert {key: row["settings"][key] for key in best["settings"]} == best["settings"]
    assert row["protocol"] == protocol
    if protocol == "holdout":  # the run is the best trial again
        assert result.stages["backbone"]["valid_score"] == best["score"]
    tested = list((tmp_path / "run" / "sweep").rglob("rows.jsonl"))
    assert not tested  # no trial was
    assert not changed_files(result.folder)
    again = resume_tuned(tmp_path / "run")
    assert again.rows[0]["metrics"] == row["metrics"] and in_process == [2]
    assert again.rows[0]["tune"] == row["tune"]


def test_a_killed_search_goes_on_with_resume(fast, tmp_path, in_process, monkeypatch):
    given = {**fast, "run_dir": str(tmp_path / "run")}
    search = ray_search.search

    def killed(trials, pending, **rest):
        search(trials, pending[:1], **rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(ray_search, "search", killed)
    with pytest.raises(KeyboardInterrupt):
        run_tuned("BPR", "tiny", "3", overrides=given)
    monkeypatch.setattr(ray_search, "search", search)
    result = resume_tuned(tmp_path / "run")
    assert in_process == [1, 2]
    assert result.rows[0]["tune"]["trials"] == 3
    with pytest.raises(ValueError, match="holds a run already"):
        run_tuned("BPR", "tiny", "3", overrides=given)


def test_fit_tunes_as_the_command_line_does(tiny_path, tmp_path, in_process, capfd):
    data = rh.Dataset.load("tiny", tiny_path)
    given = {"epochs": 3, "topk": [5, 10], "valid_metric": "NDCG@10", "threads": 1}
    run = rh.fit("BPR", data, tune=2, run_dir=tmp_path / "run", learning_rate=0.02, **given)
    ledger = Ledger(tmp_path / "run" / "sweep" / "trials.jsonl", "id").records().values()
    best = max(ledger, key=lambda record: record["score"])
    assert in_process == [2] and "learning_rate" not in best["settings"]
    assert run.served["tune"]["settings"] == best["settings"]
    assert run.served["tune"]["score"] == best["score"]
    assert run.served["stages"]["backbone"]["valid_score"] == best["score"]
    assert run.settings["learning_rate"] == 0.02
    assert "tune: if it is stopped" not in capfd.readouterr().err  # trials here log, too
    with pytest.raises(ValueError, match="tune must be a number of trials like 20, or a time"):
        rh.fit("BPR", data, tune=0)


def test_a_class_of_this_program_is_not_tuned(tiny_path):
    class Mine(BPR):
        pass

    with pytest.raises(ValueError, match=r"tune 30m needs Mine in a plugin .* a run without it"):
        rh.fit(Mine, rh.Dataset.load("tiny", tiny_path), tune="30m")


@pytest.mark.parametrize("tune", ["0", "soon", "-3m"])
def test_a_budget_that_is_none_is_refused(fast, in_tmp, tune):
    with pytest.raises(ValueError, match=f"tune must be .*, got '?{tune}"):
        run_tuned("BPR", "tiny", tune, overrides=fast)
    assert not list(in_tmp.iterdir())  # before anything is written


@pytest.mark.slow
def test_tune_on_the_command_line(fast, ray_session, in_tmp, capsys):
    settings = [f"--{key}={written_setting(key, value)}" for key, value in fast.items()]
    command = ["--model=BPR", "--dataset=tiny", "--tune=2", "--run_dir=run"]
    assert main([*command, *settings]) == 0
    assert "floor: ItemKNN" in capsys.readouterr().out
    assert len(list((in_tmp / "run" / "sweep" / "trials").iterdir())) == 2
