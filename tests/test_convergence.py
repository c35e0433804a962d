"""benchmarks/convergence.py: a run's validations and seconds, with what came before."""

import json
from pathlib import Path

import pytest

from recbole_hill.run.folder import write_config
from recbole_hill.run.jsonl import append_record
from recbole_hill.run.parent_runs import parent_record
from recbole_hill.train.progress import Epoch

#: Epochs of a run that was killed in its second and validated after its second and third.
EPOCHS = [
    Epoch("backbone", 1, 3, 13.9, 53.5, {}),
    Epoch("backbone", 2, 3, 11.2, 99.0, {}),
    Epoch("backbone", 2, 3, 11.1, 62.25, {"recall@20": 0.175125}, 0.1, 0.1),
    Epoch("backbone", 3, 3, 10.0, 60.0, {"recall@20": 0.18}, 0.2, 0.2),
    Epoch("em_0", 1, 1, 10.0, 7.0, {}),
]


@pytest.fixture(scope="module")
def convergence(import_benchmark):
    return import_benchmark("convergence")


def made_run(folder: Path, seconds: float = 0.0, **settings) -> Path:
    folder.mkdir()
    write_config(folder, {"model": "BPR", "dataset": "made", "protocol": "holdout", **settings})
    for epoch in EPOCHS:
        append_record(folder / "epochs.jsonl", epoch.record())
    stage = {"seconds": seconds, **parent_record(settings)}
    (folder / "stages.json").write_text(json.dumps({"backbone": stage}))
    return folder


def test_a_run_starts_where_those_that_it_starts_from_ended(convergence, tmp_path):
    first = made_run(tmp_path / "first", 100.0)
    second = made_run(tmp_path / "second", 10.0, pretrained_from=str(first))
    third = made_run(tmp_path / "third", fuse_from=[str(first), str(second)])
    for run, before in ((first, 0), (second, 100), (third, 100 + 10 + 100)):
        reached = [(point.epochs, point.seconds - before) for point in convergence.curve(run)]
        assert reached == [(2, 115.75), (3, 175.75)]
    assert convergence.table({"x": convergence.curve(second)}, ["recall@20"]).splitlines()[2:] == [
        "| x | 2 | 216 | 0.1751 |",
        "| x | 3 | 276 | 0.1800 |",
    ]


def test_a_run_without_validations_is_refused(convergence, tmp_path):
    run = made_run(tmp_path / "run")
    (run / "epochs.jsonl").unlink()
    with pytest.raises(ValueError, match=r"run/epochs.jsonl has no validation"):
        convergence.curve(run)
