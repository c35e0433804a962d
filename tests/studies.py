"""Studies on disk for the tests of reports: cells of rows made by hand."""

import json
from pathlib import Path

import pandas
from test_seeds import row

DEFINITION = {
    "title": "A & B, 100% of them",
    "kind": "comparison",
    "reference": "NESCL",
    "metrics": ["recall@20", "ndcg@20"],
    "rows": {
        "BPR": {"gowalla": [0.1, 0.05], "note": "old"},
        "NESCL": {"gowalla": [0.25, 0.2]},
        "HILL": {"gowalla": [0.3, 0.2]},
        "CML": {},
    },
    "beyond": {"EASE": {"gowalla": [0.2, 0.1], "source": "BARS"}},
    "notes": {"old": "An old number."},
}
SWEEP = {
    "title": "A sweep",
    "kind": "variants",
    "metrics": ["recall@20", "ndcg@20"],
    "rows": {"8, 2 | .8": {"gowalla": [0.3, 0.2]}, "8 | .4": {"gowalla": [0.31, 0.21]}},
}
SERVING = {
    "title": "What a request costs",
    "kind": "serving",
    "metrics": ["ne", "recall@20"],
    "rows": {"TTSN": {}, "MoNN S": {"paper": "-0.29 %"}, "MoNN L": {}},
}


def made(model: str, recall: float, seed: int = 1, arm: str | None = None, **changes) -> dict:
    """Returns a row whose ndcg is half its recall."""
    stages = {"backbone": {"seconds": 10.0, "epochs": 7}}
    found = row(arm or model, seed, recall, model=model, dataset="gowalla", stages=stages)
    found["metrics"] = {"recall@20": recall, "ndcg@20": recall / 2}
    if model == "HILL":
        found["settings"] = {**found["settings"], "backbone": "NESCL"}
    return {**found, **changes}


def cell(name: str, rows: list[dict], **changes) -> dict:
    """Returns a finished cell."""
    run = f"runs/{name.replace(' ', '')}-{rows[0]['seed']}"
    found = {"cell": run, "row": name, "seed": rows[0]["seed"], "status": "done", "seconds": 10.0}
    return {**found, "rows": rows, "run_dir": run, **changes}


def failed(name: str, seed: int, error: str) -> dict:
    """Returns a cell that ended in an error."""
    return {"cell": name, "row": name, "seed": seed, "status": "failed", "rows": [], "error": error}


def write_study(
    folder: Path, cells: list[dict], seeds=(1, 2), table: str = "test", called_for=None, rows=None
) -> Path:
    """Writes a study's folder.

    Args:
        folder: Where.
        cells: Its cells' records.
        seeds: Its seeds.
        table: Its table.
        called_for: The ids of its cells, by row and seed.
        rows: The rows it was asked for.
    """
    about = {
        "table": table,
        "dataset": "gowalla",
        "protocol": "holdout",
        "seeds": list(seeds),
        "command": "run_recbole_hill.py table test --dataset=gowalla",
        **({"cells": called_for} if called_for else {}),
        **({"rows": rows} if rows else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(about))
    (folder / "cells.jsonl").write_text("".join(json.dumps(each) + "\n" for each in cells))
    return folder


def write_per_user(folder: Path, found: dict, values: dict[str, list[float]]) -> None:
    """Writes a cell's values per user: recall as given by arm, ndcg half of it."""
    frames = [
        pandas.DataFrame(
            {
                "arm": arm,
                "user": [f"u{number}" for number in range(len(recalls))],
                "recall@20": recalls,
                "ndcg@20": [recall / 2 for recall in recalls],
            }
        )
        for arm, recalls in values.items()
    ]
    run = folder / found["run_dir"]
    run.mkdir(parents=True, exist_ok=True)
    frame = pandas.concat(frames).astype({"arm": "category"})
    frame.to_parquet(run / "per_user.parquet", index=False)
