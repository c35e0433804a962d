"""MLflow and Weights & Biases: what a run sends them, to stand-ins of the two libraries."""

import json
import sys
from types import SimpleNamespace
from typing import ClassVar

import pytest
import yaml
from conftest import tiny_settings

from recbole_hill.pipeline import run
from recbole_hill.run.rows import row_fault
from recbole_hill.run.tracking import Trackers
from recbole_hill.train.progress import Epoch


class Client:
    """MLflow's client, which notes what it is told."""

    runs: ClassVar[dict[str, dict]] = {}

    def __init__(self, tracking_uri):
        self.uri = tracking_uri

    def get_experiment_by_name(self, name):
        known = any(one["experiment"] == f"of {name}" for one in self.runs.values())
        return SimpleNamespace(experiment_id=f"of {name}") if known else None

    def create_experiment(self, name):
        return f"of {name}"

    def create_run(self, experiment, run_name, tags):
        made = {"experiment": experiment, "tags": tags, "uri": self.uri, "params": {}, "sent": []}
        self.runs[run_name] = made
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_param(self, run, key, value):
        self.runs[run]["params"][key] = value

    def log_metric(self, run, key, value, step=None):
        self.runs[run]["sent"].append((key, value, step))

    def set_terminated(self, run, status="FINISHED"):
        self.runs[run]["status"] = status


@pytest.fixture
def mlflow(monkeypatch) -> dict[str, dict]:
    """The runs that MLflow has been told of."""
    monkeypatch.setattr(Client, "runs", {})
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    return Client.runs


@pytest.fixture
def wandb(monkeypatch) -> list[SimpleNamespace]:
    """The runs that Weights & Biases has been told of."""
    opened = []

    def init(**about):
        made = SimpleNamespace(about=about, sent=[], summary={}, code=None)
        made.log = made.sent.append
        made.finish = lambda exit_code=0: setattr(made, "code", exit_code)
        opened.append(made)
        return made

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, run=None))
    return opened


def test_mlflow_gets_settings_epochs_and_every_arm(tiny_path, in_tmp, mlflow):
    uri = "sqlite:///secret@runs.db"
    settings = tiny_settings(tiny_path, "HILL", adapt_control=[], epochs=2, log_mlflow=uri)
    result = run("HILL", "tiny", overrides=settings)
    (sent,) = mlflow.values()
    assert list(mlflow) == [result.folder.name] and sent["status"] == "FINISHED"
    assert (sent["experiment"], sent["uri"]) == ("of tiny", uri)
    row = result.rows[-1]
    assert sent["tags"] == {
        "model": "HILL",
        "dataset": "tiny",
        "protocol": "holdout",
        "commit": str(row["commit"]),
        "data": row["data_sha256"],
    }
    assert sent["params"]["epochs"] == "2" and sent["params"]["nodes_per_depth"] == "[12, 4]"
    values = {(key, step): value for key, value, step in sent["sent"]}
    epochs = (result.folder / "epochs.jsonl").read_text().splitlines()
    for epoch in map(json.loads, epochs):
        at, stage = epoch["number"], epoch["stage"]
        assert values[f"{stage}/loss", at] == epoch["loss"]
        if stage == "backbone":
            assert values["backbone/validation/ndcg_at_10", at] == epoch["metrics"]["ndcg@10"]
    for each in result.rows:
        arm = each["arm"].replace("+", "and")
        assert values[f"test/{arm}/recall_at_5", None] == each["metrics"]["recall@5"]
    kept = [(result.folder / name).read_text() for name in ("config.yaml", "rows.jsonl")]
    assert not any("secret" in text.replace(each["command"], "") for text in kept)
    assert "log_mlflow" not in yaml.safe_load(kept[0])


def test_a_refit_run_logs_its_holdout_run_too(tiny_path, in_tmp, mlflow):
    settings = tiny_settings(tiny_path, "BPR", epochs=2, log_mlflow="runs", run_dir="saved/mine")
    run("BPR", "tiny", overrides={**settings, "protocol": "refit"})
    assert sorted(mlflow) == ["mine", "mine/holdout"]
    sent = {name: {key for key, _, _ in one["sent"]} for name, one in mlflow.items()}
    assert "backbone/validation/score" in sent["mine/holdout"]
    assert not any(key.startswith("test/") for key in sent["mine/holdout"])
    assert "test/BPR/recall_at_5" in sent["mine"]
    assert {one["status"] for one in mlflow.values()} == {"FINISHED"}


def test_a_run_that_fails_is_marked(tiny_path, in_tmp, mlflow):
    settings = tiny_settings(tiny_path, "BPR", learning_rate=1e38, log_mlflow="runs", epochs=9)
    with pytest.raises(ValueError, match="has diverged"):
        run("BPR", "tiny", overrides=settings)
    assert [one["status"] for one in mlflow.values()] == ["FAILED"]


def test_wandb_gets_the_same(tiny_path, in_tmp, wandb):
    settings = tiny_settings(tiny_path, "BPR", epochs=2, log_wandb=True, wandb_project="mine")
    result = run("BPR", "tiny", overrides=settings)
    (made,) = wandb
    about, row = made.about, result.rows[0]
    assert (about["project"], about["name"]) == ("mine", result.folder.name)
    assert about["config"]["epochs"] == 2 and about["config"]["data"] == row["data_sha256"]
    assert "protocol: holdout" in about["tags"]
    assert [values["epoch"] for values in made.sent] == [1, 2]
    epochs = [json.loads(s) for s in (result.folder / "epochs.jsonl").read_text().splitlines()]
    for sent, epoch in zip(made.sent, epochs, strict=True):
        assert sent["backbone/loss"] == epoch["loss"]
        assert sent["backbone/validation/ndcg@10"] == epoch["metrics"]["ndcg@10"]
    assert made.summary["test/BPR/ndcg@5"] == row["metrics"]["ndcg@5"]
    assert made.code == 0


@pytest.mark.parametrize(
    ("setting", "extra"), [({"log_mlflow": "runs"}, "mlflow"), ({"log_wandb": True}, "wandb")]
)
def test_a_library_that_is_missing_is_named(setting, extra, tiny_path, in_tmp, monkeypatch):
    monkeypatch.setitem(sys.modules, extra, None)
    settings = tiny_settings(tiny_path, "Pop", **setting)
    with pytest.raises(ImportError, match=rf"needs {extra}, .* extra `{extra}`"):
        run("Pop", "tiny", overrides=settings)


def test_no_tracker_is_the_normal_case(tiny_config):
    with Trackers() as none:
        none.epoch(Epoch("backbone", 1, 2, None, 0.1, {}).record())
        none.finish([])


def test_energy_in_a_row():
    made = {"settings": {}, "stages": {}, "metrics": {}}
    assert row_fault({**made, "energy": None}, ()) is None
    assert row_fault({**made, "energy": {"wh": 1.5, "by": "RAPL"}}, ()) is None
    assert row_fault({**made, "energy": {"wh": "much"}}, ()) == (
        "energy wh must be a finite number, got 'much'"
    )
