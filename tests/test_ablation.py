"""The table over variants: named by what differs, averaged over seeds alone."""

import pytest
from test_seeds import row

from recbole_hill.cli import main
from recbole_hill.report.ablation import ablation_table


def variant(learning: str, seed: int, recall: float, found: float, **changes) -> list[dict]:
    settings = {"seed": seed, "index_learning": learning, "backbone_from": f"run{seed}"}
    stages = {"backbone": {"seconds": 10.0}, "index": {"seconds": 2.0, "nodes_per_depth": [8, 2]}}
    if learning == "joint":
        loads = [{"nodes": 8, "used": 8, "largest": 0.25, "entropy": 0.9}]
        stages["index"]["loads"] = loads
    metrics = {"recall@20": recall, "ndcg@20": recall / 2}
    common = {"settings": settings, "stages": stages, "metrics": metrics, **changes}
    cost = {"index_recall@20": found, "scored_fraction": 0.1}
    return [
        row("backbone", seed, 0, **common),
        row("continue", seed, 0, **common),
        row("HILL", seed, 0, **{**common, "retrieval": cost}),
    ]


ROWS = [
    *variant("em", 1, 0.1, 0.8),
    *variant("em", 2, 0.3, 0.9),
    *variant("joint", 1, 0.4, 1.0),
    *variant("joint", 2, 0.4, 1.0),
]


def test_a_line_per_variant_with_means_and_spreads():
    lines = ablation_table(ROWS).splitlines()
    assert lines[0].startswith("| index_learning | seeds | recall@20, exact | ndcg@20, exact |")
    twice = "0.2000 ± 0.1414 | 0.1000 ± 0.0707"
    assert lines[2] == (
        f"| em | 2 | {twice} | {twice} | 0.8500 ± 0.0707 | 10.00% | 8 / 2 | – | – | 12 |"
    )
    assert lines[3].endswith("| 1.0000 ± 0.0000 | 10.00% | 8 / 2 | 25.00% | 0.900 | 12 |")
    assert "seeds 1, 2" in lines[5]


def test_what_must_not_be_compared_or_averaged():
    with pytest.raises(ValueError, match="rows of different protocol do not compare"):
        ablation_table([*ROWS, *variant("em", 3, 0.1, 0.8, protocol="published")])
    with pytest.raises(ValueError, match="with seed 1 occurs twice"):
        ablation_table([*ROWS, *variant("em", 1, 0.1, 0.8)])
    with pytest.raises(ValueError, match="rows of different commit are never averaged"):
        ablation_table([*ROWS, *variant("em", 3, 0.1, 0.8, commit="other")])
    with pytest.raises(ValueError, match="differ in their seed alone"):
        ablation_table(ROWS[:6])
    with pytest.raises(ValueError, match="no rows"):
        ablation_table([])


def test_from_the_command_line(tmp_path, capsys):
    import json

    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    assert main(["report", "--ablation", str(file)]) == 0
    assert "| joint | 2 |" in capsys.readouterr().out


def test_runs_that_were_not_measured_at_20_show_what_they_have():
    """Their own metrics; the search's recall has no number at 20."""
    rows = [{**one, "metrics": {"recall@5": 0.25}} for one in ROWS]
    for one in rows:
        if "retrieval" in one:
            one["retrieval"] = {"index_recall@5": 1.0, "scored_fraction": 0.1}
    lines = ablation_table(rows).splitlines()
    assert lines[0].startswith("| index_learning | seeds | recall@5, exact | recall@5, as served |")
    assert lines[2].startswith("| em | 2 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 | – | 10.00% |")
