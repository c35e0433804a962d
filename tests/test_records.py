"""Damaged and edited files of records: one stops nothing, and nothing is averaged silently."""

import json
import os

import pytest
from studies import DEFINITION, cell, made, write_study

from recbole_hill.experiments.study.estimate import past_rows
from recbole_hill.report import cells as module
from recbole_hill.report.markdown import markdown
from recbole_hill.report.seeds import read_rows
from recbole_hill.report.study import study_table
from recbole_hill.run.jsonl import read_lines
from recbole_hill.run.ledger import Ledger, ledger_of, trial_fault
from recbole_hill.run.rows import candidates, is_sampled, row_fault


@pytest.fixture(autouse=True)
def definitions(monkeypatch):
    monkeypatch.setattr(module, "definition_of", lambda _: DEFINITION)


def test_an_edited_line_is_found_by_its_hash(tmp_path):
    ledger = ledger_of(tmp_path)
    for seed in (1, 2):
        ledger.append(cell("BPR", [made("BPR", 0.1, seed)]))
    text = ledger.file.read_text(encoding="utf-8")
    first, second = text.splitlines()
    ledger.file.write_text(f"{first}\n{second.replace('0.1', '0.9')}\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"cells\.jsonl, line 2: changed after it was written"):
        assert list(ledger.records()) == ["runs/BPR-1"]
    # A line without a hash, as older versions wrote it, is read as it is.
    ledger.file.write_text(json.dumps(cell("BPR", [made("BPR", 0.9)])) + "\n", encoding="utf-8")
    assert len(ledger.records()) == 1


def test_a_table_names_what_it_leaves_out(tmp_path):
    bad = made("HILL", 0.3, 2)
    bad["metrics"]["recall@20"] = float("nan")
    cells = [cell("BPR", [made("BPR", 0.1)]), cell("BPR", [made("BPR", 0.3, 2)]), cell("X", [bad])]
    study = write_study(tmp_path, cells)
    with pytest.warns(UserWarning, match="line 3"):
        text = markdown(study_table(module.read_study(study)))
    assert "| BPR [1] | **0.2000 ± 0.1414** |" in text and "nan" not in text.partition("\n- ")[0]
    assert "cells.jsonl, line 3: metrics recall@20 must be a finite number, got nan." in text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metrics": {"recall@20": "0.3"}}, "metrics recall@20 must be a finite number, got '0.3'"),
        ({"metrics": {"recall@20": True}}, "metrics recall@20 must be a finite number, got True"),
        ({"metrics": {"r": float("inf")}}, "metrics r must be a finite number, got inf"),
        ({"metrics": [0.3]}, "metrics must be an object, got [0.3]"),
        ({"seed": "1"}, "seed must be a whole number, got '1'"),
        ({"stages": {"backbone": {"seconds": "9"}}}, "seconds of stage backbone must be a finite"),
        ({"stages": {"backbone": 1}}, "stage backbone must be an object, got 1"),
        ({"peak_memory_mib": None}, "peak_memory_mib must be a finite number, got None"),
        ({"model": 7}, "model must be a text, got 7"),
        ({"retrieval": {"index_recall@20": float("nan")}}, "retrieval index_recall@20 must be"),
        ({}, None),
    ],
)
def test_what_is_no_number_is_named(change, why):
    found = row_fault({**made("BPR", 0.3), **change})
    assert found is None if why is None else found.startswith(why)
    assert row_fault([1]) == "a row must be an object, got [1]"
    assert row_fault({"model": "x"}) == "not a row of results: it has no dataset"


def test_a_bad_file_costs_itself_alone(tmp_path):
    good = made("BPR", 0.1)
    (tmp_path / "good.jsonl").write_text(json.dumps(good) + "\n", encoding="utf-8")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "deep.jsonl").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"cell": "a", "rows": {"x": 1}}\n', encoding="utf-8")
    (tmp_path / "types.jsonl").write_text(
        json.dumps({**good, "stages": 5}) + "\n7\n" + json.dumps({**good, "model": []}) + "\n",
        encoding="utf-8",
    )
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning) as warned:
        assert past_rows([tmp_path]) == [good]
    texts = sorted(str(each.message).removeprefix(f"{tmp_path}/") for each in warned)
    assert texts == [
        "bytes.jsonl, line 1: not a whole record; left out",
        "deep.jsonl, line 1: not a whole record; left out",
        "folder.jsonl: not a file of records; left out",
        "gone.jsonl: not a file of records; left out",
        "pipe.jsonl: not a file of records; left out",
        "rows.jsonl, line 1: rows must be a list, got {'x': 1}; left out",
        "types.jsonl, line 1: stages must be an object, got 5 (and 2 more lines of the file); "
        "left out",
    ]
    with pytest.raises(ValueError, match=r"types\.jsonl, line 1: stages must be an object, got 5"):
        read_rows([tmp_path / "types.jsonl"])


def test_records_of_trials_are_checked(tmp_path):
    ledger = Ledger(tmp_path / "trials.jsonl", "id", trial_fault)
    trial = {"trial": 0, "id": "a", "settings": {}, "status": "done", "score": 0.5, "epochs": 1}
    for change in ({}, {"score": "high"}, {"score": None}, {"settings": 3}, {"id": ["a"]}):
        ledger.append({**trial, **change})
    read = ledger.read()
    assert read.kept == (trial,)
    assert read.faults == {
        2: "score must be a number, got 'high'",
        3: "a finished trial without a score",
        4: "not a whole record",
        5: "not a whole record",
    }
    assert read_lines(tmp_path / "none.jsonl").kept == ()


@pytest.mark.parametrize(
    ("change", "key"),
    [({"seeds": ["1"]}, "seeds"), ({"table": 3}, "table"), ({"cells": {"BPR": 1}}, "cells")],
)
def test_a_bad_description_of_a_study_is_one_line(tmp_path, change, key):
    study = write_study(tmp_path, [cell("BPR", [made("BPR", 0.1)])])
    file = study / "study.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"study\.json: {key} must be"):
        module.read_study(study)
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"study\.json is not whole JSON"):
        module.read_study(study)


def test_what_a_row_is_ranked_among():
    assert candidates(made("BPR", 0.1)) == "full"
    sampled = made("BPR", 0.1, settings={"eval_args": {"mode": {"valid": "full", "test": "uni9"}}})
    assert candidates(sampled) == "uni9" and is_sampled("uni9") and not is_sampled("labeled")
    assert candidates({**sampled, "candidates": "pop5"}) == "pop5"
