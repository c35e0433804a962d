"""A study runs each cell once, in a useful order, whatever stops it."""

import json
import multiprocessing
import re
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from studies import made

from recbole_hill.cli import main
from recbole_hill.experiments.study.estimate import Estimate, History
from recbole_hill.experiments.study.folder import claim
from recbole_hill.experiments.study.paper_table import PaperTable
from recbole_hill.experiments.study.plan import BACKBONE, Study, plan
from recbole_hill.experiments.study.run_cell import Stopped, run_cell
from recbole_hill.experiments.study.runner import Outcome, open_tasks, plan_table, run_studies
from recbole_hill.experiments.study.workers import LocalWorkers
from recbole_hill.report.seeds import require_comparable
from recbole_hill.run.ledger import ledger_of


class Known(History):
    """Estimates by row."""

    def __init__(self, seconds: dict[str, float], memory: int = 100):
        super().__init__([])
        self.seconds, self.memory = seconds, memory

    def estimate(self, cell):
        return Estimate(self.seconds.get(cell.row, 1.0), self.memory, "known")


class Recorder:
    """Workers that run nothing: the test ends what it started."""

    def __init__(self, slots: int, memory: int = 10**6):
        self.slots, self.memory = slots, memory
        self.started, self.most, self.open = [], 0, []

    def fits(self, memory, running):
        return not running or memory + running <= self.memory

    def submit(self, study, cell, memory):
        future = Future()
        self.open.append((future, cell))
        self.started.append(cell)
        self.most = max(self.most, len(self.open))
        if len(self.open) == self.slots or memory * (len(self.open) + 1) > self.memory:
            self.finish(study)
        return future

    def finish(self, study):
        for future, cell in self.open:
            record = {"cell": cell.id, "row": cell.row, "seed": cell.seed, "status": "done"}
            record |= {"seconds": 1, "run_dir": f"runs/{cell.id}"}
            record["rows"] = [made(cell.model, 0.5, cell.seed)]
            ledger_of(study).append(record)
            future.set_result(record)
        self.open = []

    def stop(self):
        for future, _ in self.open:
            future.set_exception(Stopped("stopped"))
        self.open = []

    def close(self):
        pass


def study_of(number: str, root: Path, **options) -> Study:
    return plan(PaperTable.read(number), "ml-100k", root=root, **options)


def test_first_seed_first_and_short_cells_first(tmp_path):
    study = study_of("3", tmp_path, rows=["BPR", "Pop", "EASE"], seeds=(9, 3))
    workers = Recorder(1)
    done = run_studies([study], workers, Known({"BPR": 30, "EASE": 5}))
    assert [(c.row, c.seed) for c in workers.started] == [
        ("Pop", 9), ("EASE", 9), ("BPR", 9), ("Pop", 3), ("EASE", 3), ("BPR", 3),
    ]  # fmt: skip
    assert done == Outcome(6, 0, 0)
    again = Recorder(1)
    assert run_studies([study], again, Known({})) == Outcome(6, 0, 0)
    assert not again.started  # the same cell never runs twice
    more = study_of("3", tmp_path, rows=["BPR", "CML"], seeds=(9,))
    assert [task.cell.row for task in open_tasks([more], Known({}))] == ["CML"]
    about = json.loads((study.folder / "study.json").read_text())
    assert about["seeds"] == [3, 9] and about["rows"] == ["BPR", "Pop", "EASE"]
    assert about["cells"]["BPR"] == {str(c.seed): c.id for c in study.cells if c.row == "BPR"}


def test_the_shared_backbone_is_the_given_one_with_the_given_settings(tmp_path):
    given = {"backbone": "LightGCNBSL", "valid_choice": "later", "power": 0.9, "ttt_epochs": 1}
    backbone, row, *_ = study_of("7", tmp_path, settings=given).cells
    assert (backbone.row, backbone.model) == (BACKBONE, "LightGCN-BSL")
    assert backbone.settings == {"valid_choice": "later", "power": 0.9}
    assert row.settings["backbone"] == "LightGCNBSL" and row.starts == {backbone.id}
    assert study_of("7", tmp_path).cells[0].model == "NESCL"


def test_rows_wait_for_their_backbone(tmp_path):
    study = study_of("7", tmp_path)
    workers = Recorder(1)
    run_studies([study], workers, Known({BACKBONE: 1000.0}))
    assert workers.started[0].row == BACKBONE and len(workers.started) == 8

    alone = Recorder(8)  # eight could run at once, but seven wait for the first
    study = study_of("7", tmp_path / "other")
    with pytest.raises(TimeoutError):
        _run_for(1, lambda: run_studies([study], alone, Known({})))
    assert [cell.row for cell in alone.started] == [BACKBONE]


def _run_for(seconds, function):
    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        function()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_rows_wait_for_all_that_they_start_from(tmp_path):
    study = study_of("beyond", tmp_path, rows=["Fusion", "ChebyCF"])
    workers = Recorder(1)
    run_studies([study], workers, Known({"LightGCN-BSL": 1000.0, "Fusion": 1.0}))
    names = ["SpectralMF", "LightGCN-BSL", "Fusion", "ChebyCF"]  # the awaited ones first
    assert [cell.row for cell in workers.started] == names


def test_side_by_side_as_slots_and_memory_allow(tmp_path):
    rows = ["BPR", "Pop", "EASE", "CML", "GRMF", "ENMF"]
    wide, narrow = Recorder(3), Recorder(3, memory=250)
    run_studies([study_of("3", tmp_path / "a", rows=rows)], wide, Known({}))
    run_studies([study_of("3", tmp_path / "b", rows=rows)], narrow, Known({}))
    assert wide.most == 3 and narrow.most == 2
    big = Recorder(1, memory=50)  # each is larger than all there is: one at a time, all the same
    assert run_studies([study_of("3", tmp_path / "c", rows=rows)], big, Known({})).done == 6


def test_the_time_budget_leaves_the_rest_for_another_call(tmp_path):
    study = study_of("3", tmp_path, rows=["BPR", "Pop"])
    assert run_studies([study], Recorder(2), Known({}), time_budget=0) == Outcome(0, 0, 2)
    assert run_studies([study], Recorder(2), Known({})) == Outcome(2, 0, 0)


def test_a_dry_run_says_what_a_study_takes(tmp_path):
    study = study_of("3", tmp_path, rows=["BPR", "Pop"], seeds=(1, 2))
    text = plan_table([study], Known({"BPR": 3600}), jobs=2)
    assert ["3", "ml-100k", "BPR", "2", "0", "1 h 0 min", "100", "known"] in [
        re.split("  +", line.strip()) for line in text.splitlines()
    ]
    assert "4 cells, 0 done; the rest takes about 2 h 0 min, 1 h 0 min with 2 side by side" in text
    assert not study.folder.exists()


# -- real cells -----------------------------------------------------------------------------------


def tiny_study(tiny_path, root, rows, **settings) -> Study:
    shared = {"data_path": str(tiny_path), "topk": [5, 10], "valid_metric": "NDCG@10"}
    table = PaperTable.read("3")
    return plan(table, "tiny", root=root, rows=rows, settings={**shared, **settings})


@pytest.fixture
def in_process(monkeypatch):
    """Runs the cells' commands in this process, which need not be started."""

    def train(command, folder, working_folder, lock, stop):
        assert main(command[2:]) == 0

    monkeypatch.setattr("recbole_hill.experiments.study.run_cell._train", train)


def test_a_failed_cell_is_on_record_and_the_rest_goes_on(tiny_path, in_tmp, request):
    study = tiny_study(tiny_path, in_tmp, ["Pop", "SpectralMF"], embedding_size=48)
    (spectral,) = (cell for cell in study.cells if cell.row == "SpectralMF")
    assert run_cell(study.folder, spectral)["status"] == "failed"
    request.getfixturevalue("in_process")
    assert run_studies([study], LocalWorkers(2, threads=1), Known({})) == Outcome(1, 1, 0)
    records = {each["row"]: each for each in ledger_of(study.folder).records().values()}
    assert records["SpectralMF"]["error"] == "embedding_size must be between 1 and 47, got 48"
    (row,) = records["Pop"]["rows"]
    assert row["settings"]["threads"] == 1 and row["metrics"]["recall@10"] > 0
    assert row == json.loads((study.folder / records["Pop"]["run_dir"] / "rows.jsonl").read_text())
    assert open_tasks([study], Known({})) == []
    (again,) = open_tasks([study], Known({}), retry_failed=True)
    assert again.cell.row == "SpectralMF"


def test_modules_in_the_working_folder_are_not_taken_for_pythons(tiny_path, in_tmp, capfd):
    for name in ("queue", "random", "secrets", "config", "torch"):
        (in_tmp / f"{name}.py").write_text("open('executed', 'w')\nraise KeyError('mine')\n")
    options = ["--models=Pop", f"--data_path={tiny_path}", "--topk=[10,20]"]
    assert main(["table", "3", "--dataset=tiny", *options, "--valid_metric=NDCG@10"]) == 0
    assert "1 cells done, 0 failed, 0 left" in capfd.readouterr().out
    assert not (in_tmp / "executed").exists()


def test_a_cell_that_waits_in_vain_for_its_backbone(tiny_path, in_tmp, monkeypatch):
    monkeypatch.setattr("recbole_hill.experiments.study.run_cell._PATIENCE", 0.3)
    shared = {"data_path": str(tiny_path)}
    study = plan(PaperTable.read("7"), "tiny", root=in_tmp, rows=[".8/.1"], settings=shared)
    backbone, cell = study.cells
    with pytest.raises(Stopped, match="the run that it starts from is not finished"):
        run_cell(study.folder, cell)
    failed = {
        "cell": backbone.id,
        "row": "backbone",
        "seed": backbone.seed,
        "status": "failed",
        "error": "no disk",
        "run_dir": "runs/x",
    }
    ledger_of(study.folder).append(failed)
    assert run_cell(study.folder, cell)["error"] == (
        "backbone, which it starts from, failed: no disk"
    )
    with claim(study.folder, cell.id), pytest.raises(Stopped, match="another process"):
        run_cell(study.folder, cell)


def test_a_run_to_start_from_is_looked_for_from_the_working_folder(tiny_path, in_tmp):
    (in_tmp / "here" / "run").mkdir(parents=True)
    (in_tmp / "here" / "run" / "config.yaml").write_text("")
    shared = {"settings": {"data_path": str(tiny_path)}, "backbone_from": "run"}
    study = plan(PaperTable.read("7"), "tiny", root=in_tmp, rows=[".8/.1"], **shared)
    (cell,) = study.cells
    with pytest.raises(Stopped, match="the run that it starts from is not finished"):
        run_cell(study.folder, cell)
    seen = []

    def train(cell, folder, settings):
        seen.append(settings["backbone_from"])
        return "not trained"

    record = run_cell(study.folder, cell, working_folder=in_tmp / "here", train=train)
    assert record["error"] == "not trained" and seen == ["run"]


def test_a_fusion_of_two_cells(tiny_path, in_tmp, in_process):
    """Its row says what it was made of and counts what that took; seeds are averaged."""
    shared = {"data_path": str(tiny_path), "topk": [5, 10], "valid_metric": "NDCG@10"}
    rows = {
        "BPR": {"settings": {"embedding_size": 6, "epochs": 2}},
        "SpectralMF": {"settings": {"embedding_size": 4}},
        "Fusion": {
            "settings": {"fuse_weights": [1.0, 0.5], "embedding_size": 10},
            "starts_from": {"fuse_from": ["BPR", "SpectralMF"]},
        },
    }
    definition = {"title": "Three", "kind": "comparison", "metrics": ["recall@10"], "rows": rows}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "recbole_hill.experiments.study.paper_table.read_properties", lambda *_: definition
        )
        table = PaperTable.read("three")
    study = plan(table, "tiny", root=in_tmp, seeds=(1, 2), settings=shared)
    assert run_studies([study], LocalWorkers(1, threads=1), Known({})) == Outcome(6, 0, 0)
    records = ledger_of(study.folder).records()
    of = {(each["row"], each["seed"]): each["rows"][0] for each in records.values()}
    for seed in (1, 2):
        parts = [of[name, seed]["stages"]["backbone"]["seconds"] for name in ("BPR", "SpectralMF")]
        stage = of["Fusion", seed]["stages"]["backbone"]
        assert stage["trained_seconds"] == pytest.approx(sum(parts))
        assert stage["started_from"] == {"fuse_from": ["BPR", "SpectralMF"]}
    fusions = [of["Fusion", seed] for seed in (1, 2)]
    assert fusions[0]["settings"]["fuse_from"] != fusions[1]["settings"]["fuse_from"]
    require_comparable(fusions)
    fusions[1]["stages"]["backbone"]["started_from"] = {"fuse_from": ["BPR", "BPR"]}
    with pytest.raises(ValueError, match="rows of different fuse_from are never averaged"):
        require_comparable(fusions)


def _run(study: Study) -> None:
    run_studies([study], LocalWorkers(1, threads=1), Known({}))


def test_a_killed_study_goes_on_where_it_was(tiny_path, in_tmp, request):
    """SIGKILL, which nothing can catch: the cell's own process goes too, its epochs stay."""
    study = tiny_study(tiny_path, "studies", ["BPR"], epochs=60, stopping_step=60)
    run = study.folder / "runs" / study.cells[0].id
    process = multiprocessing.get_context("fork").Process(target=_run, args=(study,))
    process.start()
    _wait_for(lambda: (run / "best.safetensors").exists())
    process.kill()
    process.join()
    assert not ledger_of(study.folder).records()
    _wait_for(lambda: _is_free(study.folder, study.cells[0].id))  # nobody trains on in secret
    request.getfixturevalue("in_process")
    record = run_cell(study.folder, study.cells[0])
    assert record["status"] == "done", record
    assert record["given"] == study.cells[0].given != {}
    assert record["rows"][0]["stages"]["backbone"]["epochs"] > 0
    assert "resuming backbone at epoch" in (run / "run.log").read_text()


def _is_free(folder, cell_id):
    with claim(folder, cell_id) as held:
        return held is not None


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_stopped_cell_is_not_a_failed_one(tiny_path, in_tmp):
    study = tiny_study(tiny_path, in_tmp, ["BPR"], epochs=100_000, stopping_step=100_000)
    run = study.folder / "runs" / study.cells[0].id
    with pytest.raises(Stopped):
        run_cell(study.folder, study.cells[0], stop=lambda: (run / "state.pt").exists())
    assert not ledger_of(study.folder).records() and (run / "state.pt").exists()


def test_a_table_whose_metrics_are_not_measured_is_refused_before_the_first_cell(in_tmp, capsys):
    command = ["table", "3", "--dataset=ml-100k", "--models=Pop,BPR", "--dry-run"]
    assert main([*command, "--topk=[5,10]", "--valid_metric=NDCG@10"]) == 1
    assert "topk must have 20 for recall@20, which table 3 reports, got [5, 10]" in (
        capsys.readouterr().err
    )
    assert main([*command, "--metrics=[Recall,MRR]", "--valid_metric=MRR@20"]) == 1
    assert "metrics must have ndcg for ndcg@20, which table 3" in capsys.readouterr().err
    assert main([*command, "--topk=[5,20]", "--valid_metric=NDCG@20"]) == 0
