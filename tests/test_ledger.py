"""The record of finished cells: nothing is lost, nothing runs twice."""

import json
import multiprocessing

import pytest

from recbole_hill.run.ledger import Ledger


def entry(cell: str, **facts) -> dict:
    return {"cell": cell, "status": "done", **facts}


def test_entries_come_back_and_the_last_one_counts(tmp_path):
    ledger = Ledger(tmp_path / "study")
    assert ledger.entries() == {}
    ledger.append(entry("a", status="failed", error="é"))
    ledger.append(entry("b", seconds=1.5))
    ledger.append(entry("a"))
    assert ledger.entries() == {"a": entry("a"), "b": entry("b", seconds=1.5)}
    assert len(ledger.file.read_text().splitlines()) == 3


@pytest.mark.parametrize("torn", ['{"cell": "b", "sta', '{"status": "done"}', "[1]", "7"])
def test_a_line_cut_off_costs_its_cell_alone(tmp_path, torn):
    ledger = Ledger(tmp_path)
    ledger.append(entry("a"))
    with open(ledger.file, "a") as file:
        file.write(torn)
    ledger.append(entry("c"))
    with pytest.warns(UserWarning, match=r"cells\.jsonl, line 2: not a whole record"):
        assert set(ledger.entries()) == {"a", "c"}
    assert json.loads(ledger.file.read_text().splitlines()[2]) == entry("c")


def _append(folder, name):
    for number in range(40):
        Ledger(folder).append(entry(f"{name}{number}", text="x" * 5000))


def test_several_processes_append(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(tmp_path, name)) for name in "pqr"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Ledger(tmp_path).entries()) == 120


def test_a_cell_is_held_by_one_at_a_time(tmp_path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    with first.claim("a") as held:
        assert held is not None
        with second.claim("a") as none, second.claim("b") as other:
            assert none is None and other is not None
    with second.claim("a") as held:
        assert held is not None
