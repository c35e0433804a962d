"""The record of finished work: nothing is lost, nothing runs twice, one runner holds a cell."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from recbole_hill.experiments.study.folder import claim, run_dir
from recbole_hill.run.jsonl import short_id
from recbole_hill.run.ledger import Ledger


def record(cell: str, **rest) -> dict:
    return {"cell": cell, "status": "done", **rest}


def test_records_come_back_and_the_last_one_counts(tmp_path):
    ledger = Ledger(tmp_path / "study" / "cells.jsonl", "cell")
    assert ledger.records() == {}
    ledger.append(record("a", status="failed", error="é"))
    ledger.append(record("b", seconds=1.5))
    assert ledger.with_status("failed") == [record("a", status="failed", error="é")]
    ledger.append(record("a"))
    assert ledger.records() == {"b": record("b", seconds=1.5), "a": record("a")}
    assert ledger.with_status("done") == [record("b", seconds=1.5), record("a")]
    assert ledger.with_status("failed") == []
    assert len(ledger.file.read_text().splitlines()) == 3


@pytest.mark.parametrize("torn", ['{"cell": "b", "sta', '{"status": "done"}', "[1]", "7"])
def test_a_line_cut_off_costs_its_cell_alone(tmp_path, torn):
    ledger = Ledger(tmp_path / "cells.jsonl", "cell")
    ledger.append(record("a"))
    with open(ledger.file, "a") as file:
        file.write(torn)
    ledger.append(record("c"))
    with pytest.warns(UserWarning, match=r"cells\.jsonl, line 2: not a whole record"):
        assert set(ledger.records()) == {"a", "c"}
    assert json.loads(ledger.file.read_text().splitlines()[2]) == {
        **record("c"),
        "hash": short_id(record("c")),
    }


def _append(file, name):
    for number in range(40):
        Ledger(file, "cell").append(record(f"{name}{number}", text="x" * 5000))


def test_several_processes_append(tmp_path):
    context = multiprocessing.get_context("fork")
    file = tmp_path / "cells.jsonl"
    workers = [context.Process(target=_append, args=(file, name)) for name in "pqr"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Ledger(file, "cell").records()) == 120


def test_a_cell_is_held_by_one_at_a_time(tmp_path):
    with claim(tmp_path, "a") as held:
        assert held is not None
        with claim(tmp_path, "a") as none, claim(tmp_path, "b") as other:
            assert none is None and other is not None
    with claim(tmp_path, "a") as held:
        assert held is not None
    assert run_dir(tmp_path, "a").with_suffix(".lock").is_file()


_RUNNER = """
import subprocess, sys, time
from recbole_hill.experiments.study.folder import claim
from recbole_hill.host.processes import bound_child

with claim(sys.argv[1], "a") as lock:
    options = bound_child(lock)
    del options["preexec_fn"]  # so that the child outlives its parent, as it may on other systems
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], **options)
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows a child does not inherit a lock")
def test_a_cell_stays_held_while_the_child_of_a_killed_runner_lives(tmp_path):
    runner = subprocess.Popen(
        [sys.executable, "-c", _RUNNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    child = int(runner.stdout.readline())
    runner.kill()
    runner.wait()
    with claim(tmp_path, "a", patience=0.3) as held:
        assert held is None
    os.kill(child, signal.SIGKILL)
    with claim(tmp_path, "a", patience=10) as held:
        assert held is not None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone kills the child with its parent")
def test_a_child_dies_with_its_runner(tmp_path):
    runner = subprocess.Popen(
        [sys.executable, "-c", _RUNNER.replace('del options["preexec_fn"]', ""), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    runner.stdout.readline()
    runner.kill()
    runner.wait()
    with claim(tmp_path, "a", patience=10) as held:
        assert held is not None
