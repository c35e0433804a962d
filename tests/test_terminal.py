"""What a run says: before, while and after it trains."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tiny_settings

from recbole_hill.cli import main
from recbole_hill.data.splits import load_data
from recbole_hill.experiments.study.estimate import History
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.report.tables import arms_table
from recbole_hill.run.jsonl import read_lines
from recbole_hill.train.announce import describe, plan
from recbole_hill.train.arms import MEANINGS
from recbole_hill.train.progress import Epoch, epochs_of

ROOT = Path(__file__).resolve().parents[1]


def command(settings: dict) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


def test_an_epochs_line():
    trained = Epoch("backbone", 3, 40, 0.44712, 3.14, {}, score=0.1234, best=0.1301)
    assert trained.line("ndcg@20", 114.8) == (
        "epoch 3 of 40: loss 0.4471, validation ndcg@20 0.1234 (best 0.1301), 3.1 s, "
        "at most 2 min left"
    )
    best = Epoch("adapt_pairs", 2, 2, 1.0, 0.5, {}, score=0.2, best=0.2)
    assert best.line("recall@5", 0) == (
        "adapt_pairs, epoch 2 of 2: loss 1.0000, validation recall@5 0.2000 (the best so far), "
        "0.5 s"
    )
    assert Epoch("backbone", 1, 1, None, 2.0, {}).line("ndcg@20", 0) == "epoch 1 of 1: 2.0 s"


def test_the_data_and_the_plan(tiny_config):
    config = tiny_config("HILL", adapt_control=["continue"], epochs=7)
    data = load_data(config)
    sizes = [len(part._dataset.inter_feat) for part in (data.train, data.valid, data.test)]
    lines = describe(config, data)
    assert lines[0].startswith(f"data: tiny, 80 users, 48 items, {sum(sizes):,} rows, density ")
    assert f"density {sum(sizes) / (80 * 48):.3%}" in lines[0]
    assert re.findall(r"[\d,]+(?= \()", lines[1]) == [f"{size:,}" for size in sizes]
    assert plan(config) == (
        "plan: train NESCL, at most 7 epochs (it stops after 10 validations without a new best); "
        "learn the index (em, 12 and 4 nodes); adapt (continue, pairs; 2 epochs each); test"
    )
    assert plan(tiny_config("EASE")) == "plan: fit EASE, which needs no epochs; test"
    refit = plan(tiny_config("BPR", protocol="refit", epochs=3))
    assert refit == "plan: train BPR, 3 epochs; test"


def test_past_runs_tell_the_time():
    made = {"model": "BPR", "dataset": "tiny", "commit": None, "protocol": "holdout"}
    row = {**made, "seed": 1, "settings": {"epochs": 3}, "peak_memory_mib": 9, "test_seconds": 5.0}
    history = History([{**row, "stages": {"backbone": {"seconds": 115.0}}}])
    cell = Cell("BPR", "BPR", "tiny", "holdout", 0, {"epochs": 3})
    assert history.says(cell) == "expected time: 2 min (1 run with these settings)"
    other = Cell("BPR", "BPR", "tiny", "holdout", 0, {"epochs": 9})
    assert history.says(other) == "expected time: 2 min (1 run with other settings)"
    new = Cell("BPR", "BPR", "mine", "holdout", 0)
    assert history.says(new) == "expected time: no past run of BPR on mine"


def test_the_legend_is_of_the_arms_that_are_there():
    made = {"dataset": "d", "data_sha256": "0" * 64, "protocol": "holdout", "seed": 1}
    made |= {"test_selected": False, "device": "cpu", "commit": None, "settings": {}, "stages": {}}
    floor = {"Pop": {"ndcg@5": 0.1}}
    rows = [{**made, "arm": arm, "metrics": {"ndcg@5": 0.2}} for arm in ("backbone", "HILL")]
    text = arms_table([{**row, "floor": floor} for row in rows])
    assert f"\n\nbackbone: {MEANINGS['backbone']}\nHILL: what validation prefers" in text
    assert "floor: Pop: the most popular items" in text and "continue" not in text
    assert "EASE: " not in arms_table([{**rows[0], "arm": "EASE"}])


def test_the_documentation_has_the_same_words():
    page = (ROOT / "docs" / "concepts" / "arms.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(.+?)` \| (.+) \|$", page, re.M)) == MEANINGS


def test_a_pipe_gets_plain_lines(tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "HILL", epochs=3, adapt_control=[])
    settings |= {"show_progress": True, "state": "INFO"}
    line = [sys.executable, "-m", "recbole_hill", "--model=HILL", "--dataset=tiny"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*line, *command(settings)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not set("\x1b\r█") & set(done.stdout + done.stderr)
    lines = done.stderr.splitlines()
    folder = done.stdout.splitlines()[-1].removeprefix("kept in ")
    assert lines[0] == "expected time: no past run of HILL on tiny"
    assert lines[1].endswith(f"run: {folder}")
    backbone = [each for each in lines if " epoch " in each and ", epoch" not in each]
    assert len(backbone) == 3 and "epoch 1 of 3: loss" in backbone[0]
    assert "[Training]" not in done.stderr
    records = read_lines(tmp_path / folder / "epochs.jsonl").kept
    stages = [record["stage"] for record in records]
    assert stages == ["backbone"] * 3 + ["em_0"] + ["adapt_pairs"] * 2
    assert set(records[0]["metrics"]) == {f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10)}
    assert records[0]["score"] == records[0]["metrics"]["ndcg@10"] == records[0]["best"]
    assert [record["number"] for record in epochs_of(tmp_path / folder)] == [1, 2, 3]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
def test_ctrl_c_names_the_folder_and_the_run_goes_on(tiny_path, in_tmp, capsys):
    settings = tiny_settings(tiny_path, "BPR", epochs=100_000, stopping_step=100_000)
    settings["run_dir"] = "saved/mine"
    line = [sys.executable, "-m", "recbole_hill", "--model=BPR", "--dataset=tiny"]
    process = subprocess.Popen(
        [*line, *command(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored, and these tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    epochs = in_tmp / "saved" / "mine" / "epochs.jsonl"
    try:
        while not epochs.exists() and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; continue with --resume=saved/mine"


def test_only_recboles_news_are_left_out(tmp_path, capsys):
    from recbole.data import utils as theirs

    from recbole_hill.run.folder import LOG, start_log

    start_log(tmp_path, "INFO")
    for level, text in ((logging.INFO, "their news"), (logging.WARNING, "their warning")):
        record = logging.LogRecord("root", level, theirs.__file__, 1, text, (), None)
        logging.getLogger().handle(record)
    logging.getLogger().info("our news")
    said = [line.split(" ", 1)[1] for line in (tmp_path / LOG).read_text().splitlines()]
    assert said == ["their warning", "our news"]


def test_a_stopped_command_says_how_to_continue(monkeypatch, capsys):
    from recbole_hill.commands import models

    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "run", stop)
    assert main(["models"]) == 130
    assert capsys.readouterr().err == "stopped; the same command continues it\n"
