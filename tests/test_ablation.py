"""The table over variants: named by what differs, averaged over seeds alone."""

import pytest
from test_seeds import row

from recbole_hill.cli import main
from recbole_hill.report.ablation import ablation_table


def variant(learning: str, seed: int, recall: float, found: float, **changes) -> list[dict]:
    settings = {"seed": seed, "index_learning": learning, "backbone_from": f"run{seed}"}
    stages = {"backbone": {"seconds": 10.0}, "index": {"seconds": 2.0, "nodes_per_depth": [8, 2]}}
    stages["HILL"] = {"kept": "unadapted"}
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


def em_run(seed: int, kept: str, exact: dict[str, float]) -> list[dict]:
    """The rows of a run with an M-step; exact recall@20 by arm, .5 as served."""
    settings = {"seed": seed, "index_learning": "em", "em_rounds": 1}
    stages = {"backbone": {"seconds": 1.0}, "em_0": {"seconds": 1.0}, "HILL": {"kept": kept}}
    stages["index"] = {"seconds": 1.0, "nodes_per_depth": [8, 2]}
    common = {"settings": settings, "stages": stages}
    rows = [row(arm, seed, recall, **common) for arm, recall in exact.items()]
    cost = {"index_recall@20": 1.0, "scored_fraction": 0.1}
    return [*rows, row("HILL", seed, 0.5, **common, retrieval=cost)]


def exact_cells(rows: list[dict]) -> list[str]:
    """The column `recall@20, exact` of all lines."""
    lines = [line.split("|") for line in ablation_table(rows, ("recall@20",)).splitlines()]
    at = [cell.strip() for cell in lines[0]].index("recall@20, exact")
    return [line[at].strip() for line in lines[2:] if len(line) > at]


def test_the_exact_columns_are_of_the_weights_that_are_served():
    exact = {"backbone": 0.1, "backbone + EM": 0.2, "pairs": 0.3}
    kmeans = variant("em", 1, 0.4, 1.0)
    for kept, recall in (("backbone", 0.1), ("unadapted", 0.2), ("adapted", 0.3)):
        assert exact_cells([*kmeans, *em_run(1, kept, exact)]) == ["0.4000", f"{recall:.4f}"]
    # Each seed's own: .2 and .1.
    two = [*em_run(1, "unadapted", exact), *em_run(2, "backbone", exact)]
    assert exact_cells([*kmeans, *two])[1] == "0.1500 ± 0.0707"
    # Rows that lost the arm: no other arm's numbers stand for it.
    assert exact_cells([*kmeans, *em_run(1, "unadapted", {"backbone": 0.1})]) == ["0.4000", "–"]


def test_settings_that_only_newer_rows_have_tell_variants_apart():
    old, changes = variant("joint", 1, 0.1, 1.0), []
    for start, revive in (("kmeans", True), ("kmeans", False), ("random", False)):
        new = variant("joint", 1, 0.2, 1.0, commit="new")
        for one in new:
            one["settings"] = one["settings"] | {"index_start": start, "index_revive": revive}
        changes += new
    lines = ablation_table([*old, *changes]).splitlines()
    assert lines[0].startswith("| index_start | index_revive | seeds |")
    assert [line.split(" 1 |")[0] for line in lines[2:6]] == [
        "| – | – |",
        "| kmeans | True |",
        "| kmeans | False |",
        "| random | False |",
    ]


def test_hill_over_labels_has_the_cost_of_a_request_in_the_place_of_a_share():
    rows = [*em_run(1, "backbone", {"backbone": 0.1}), *em_run(2, "backbone", {"backbone": 0.1})]
    for one in rows:
        one["settings"]["em_rounds"] = one.pop("seed")
        one["seed"] = 1
        if one.pop("retrieval", None):
            one["serving"] = {"index_recall@20": 0.75, "flops": 10.0}
    lines = ablation_table(rows, ("recall@20",)).splitlines()
    assert lines[2] == "| 1 | 1 | 0.1000 | 0.5000 | 0.7500 | – | 8 / 2 | – | – | 2 |"
