"""benchmarks/convergence.py: validations and seconds from a run's log, with what came before."""

import json
from pathlib import Path

import pytest

from recbole_hill.run.folder import write_config
from recbole_hill.run.parent_runs import parent_record

LOG = """\
05:55:23 epoch 0 training [time: 53.50s, train loss: 1399.0587]
05:56:26 epoch 1 training [time: 62.25s, train loss: 1109.9347]
05:56:33 epoch 1 evaluating [time: 7.37s, valid_score: 0.147897]
05:56:33 valid result:
recall@10 : 0.1226    recall@20 : 0.175125    ndcg@20 : 0.147897
05:57:33 epoch 2 training [time: 60.00s, train loss: 1000.0000]
05:57:40 epoch 2 evaluating [time: 7.00s, valid_score: 0.150000]
05:57:40 valid result:
recall@10 : 0.1300    recall@20 : 0.180000    ndcg@20 : 0.150000
"""


@pytest.fixture(scope="module")
def convergence(import_benchmark):
    return import_benchmark("convergence")


def made_run(folder: Path, seconds: float = 0.0, **settings) -> Path:
    folder.mkdir()
    write_config(folder, {"model": "BPR", **settings})
    (folder / "run.log").write_text(LOG)
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


def test_a_log_without_validations_is_refused(convergence, tmp_path):
    run = made_run(tmp_path / "run")
    (run / "run.log").write_text(LOG.splitlines()[0])
    with pytest.raises(ValueError, match=r"run/run.log has no validation"):
        convergence.curve(run)
