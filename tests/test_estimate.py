"""Time and memory of a study, estimated from past runs."""

import json

import pytest
from test_seeds import row

from recbole_hill.experiments.study.estimate import MEMORY_MARGIN, Estimate, History, past_rows
from recbole_hill.experiments.study.plan import Cell


def past(model: str, seconds: float, memory: int, dataset: str = "ml-100k", **settings) -> dict:
    made = {
        "model": model,
        "dataset": dataset,
        "stages": {"backbone": {"seconds": seconds - 2}, "index": {"seconds": 1}},
        "test_seconds": 1,
        "peak_memory_mib": memory,
        "settings": settings,
    }
    return row(model, settings.get("seed", 1), 0.1, **made)


def cell(model: str, dataset: str = "ml-100k", **settings) -> Cell:
    return Cell(model, model, dataset, "holdout", 1, settings)


HISTORY = History(
    [
        past("BPR", 10, 500, seed=1, epochs=2),
        past("BPR", 30, 700, seed=2, epochs=2),
        past("BPR", 20, 600, seed=3, epochs=2),
        past("BPR", 90, 900, seed=1, epochs=9),
        past("CML", 100, 1000, "gowalla"),
    ]
)


def test_runs_with_the_same_settings_count_first():
    estimate = HISTORY.estimate(cell("BPR", epochs=2))
    assert estimate == Estimate(20, round(700 * MEMORY_MARGIN), "3 runs with these settings")
    assert HISTORY.estimate(cell("BPR", epochs=9)).seconds == 90
    estimate = HISTORY.estimate(cell("BPR", epochs=5))
    assert estimate.seconds == 25 and estimate.basis == "4 runs with other settings"
    refit = Cell("BPR", "BPR", "ml-100k", "refit", 1, {"epochs": 2})
    assert HISTORY.estimate(refit).basis == "4 runs with other settings"


def test_another_dataset_is_scaled_by_its_size():
    estimate = HISTORY.estimate(cell("CML"))
    scale = 80_000 / 810_128
    assert estimate.seconds == pytest.approx(100 * scale)
    assert estimate.basis.startswith("gowalla, times")
    assert estimate.memory_mib == round(1000 * MEMORY_MARGIN)  # never below what the libraries take


def test_a_guess_says_so():
    assert HISTORY.estimate(cell("NESCL")).basis == "guess: median of all on ml-100k"
    assert HISTORY.estimate(cell("NESCL", "mine")).basis == "guess: nothing like it has run"


def test_arms_of_a_run_are_one_run():
    arms = [{**past("HILL", 12, 800, run_dir="r"), "arm": arm} for arm in ("backbone", "HILL")]
    assert History(arms).estimate(cell("HILL")).seconds == 13  # a second test reading
    for arm in arms:  # the M-step's second is within those of the index
        arm["stages"] = {**arm["stages"], "em_0": {"seconds": 1}}
    assert History(arms).estimate(cell("HILL")).seconds == 13


def test_past_rows_of_files_and_of_studies(tmp_path):
    one, two, three = past("BPR", 10, 500), past("CML", 10, 500), past("Pop", 10, 500)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.jsonl").write_text(json.dumps(one) + "\n" + '{"cut')
    runs = tmp_path / "studies" / "table3" / "runs" / "abc"
    runs.mkdir(parents=True)
    (runs / "rows.jsonl").write_text(json.dumps(two) + "\n")
    records = [
        {"cell": "abc", "status": "done", "rows": [two]},
        {"cell": "d", "status": "failed", "error": "no"},
        {"cell": "e", "status": "done", "rows": [three]},
    ]
    cells = runs.parent.parent / "cells.jsonl"
    cells.write_text("".join(json.dumps(line) + "\n" for line in records))
    rows = past_rows([tmp_path / "results", tmp_path / "studies", tmp_path / "none"])
    assert [row["model"] for row in rows] == ["BPR", "CML", "Pop"]
