"""The table of models of labelled impressions, by hand."""

import copy

import pytest

from recbole_hill.report.serving import serving_table

COST = {
    "flops": 1000.0,
    "flops_measured": 1100.0,
    "flops_formula": 3000.0,
    "index_recall@20": 1.0,
    "latency_ms": 0.5,
    "latency_p99_ms": 2.0,
    "tables_mib": 0.25,
    "weights_mib": 1.5,
}
ROW = {
    "model": "TTSN",
    "arm": "TTSN",
    "dataset": "log",
    "data_sha256": "abc" * 8,
    "protocol": "holdout",
    "test_selected": False,
    "seed": 1,
    "split_seed": 7,
    "commit": "c",
    "versions": {"python": "3"},
    "device": "cpu",
    "settings": {"seed": 1},
    "metrics": {"ne": 0.8, "auc": 0.7, "recall@20": 0.1},
    "serving": COST,
    "stages": {"backbone": {"seconds": 4.0}},
    "peak_memory_mib": 5,
}


def row(model="TTSN", seed=1, ne=0.8, flops=1000.0, **settings):
    made = copy.deepcopy(ROW)
    made |= {"model": model, "arm": model, "seed": seed, "settings": {"seed": seed, **settings}}
    made["metrics"]["ne"], made["serving"]["flops"] = ne, flops
    return made


LAYERS = {
    "hsnn_layers": [{"size": "L", "nodes": 30}, {"size": "S"}],
    "index_learning": "joint",
    "index_alpha_power": 2.0,
    "index_balance": 0.1,
    "index_warmup_epochs": 1,
    "index_gradient": 0.0,
    "layer_loss": "own",
}


def test_gains_are_paired_by_seed_and_costs_relative():
    rows = [
        row(seed=1, ne=0.8),
        row(seed=2, ne=0.9),
        row("MoNN", 1, 0.76, 5000.0, monn_size="S"),
        row("MoNN", 2, 0.873, 5000.0, monn_size="S"),
        row("HSNN", 1, 0.792, 2000.0, **LAYERS),
        row("HSNN", 1, 0.8, 2000.0, **LAYERS | {"index_learning": "em", "index_balance": 0}),
    ]
    lines = serving_table(rows).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:6]]
    assert [line[0] for line in cells] == [
        "TTSN",
        "MoNN S",
        "HSNN L on 30 nodes, S",
        "HSNN L on 30 nodes, S; index em; without balance",
    ]
    assert cells[0][3] == "–" and cells[1][3].startswith("-4.00 ± 1.41")  # -5 % and -3 %
    assert cells[2][3] == "-1.00 %" and cells[3][3] == "0.00 %"
    assert [line[8] for line in cells] == ["1.0", "5.0", "2.0", "2.0"]
    costs = [cells[0][place] for place in (7, 9, 10, 12)]
    assert costs == ["1,000", "1,100", "3,000", "1.50, 0.25"]
    other = serving_table([*rows[:2], row("EBR") | {"commit": "d"}])
    assert "commit c, d" in other and "commit c, d" not in "\n".join(lines)
    assert [line[1] for line in cells] == ["2", "2", "1", "1"]


def test_a_row_says_what_gradients_went_through_index_and_ensemble():
    new = ("index_gradient", "layer_loss")
    old = {key: value for key, value in LAYERS.items() if key not in new}
    rows = [
        row("HSNN", **LAYERS),
        row("HSNN", **LAYERS | {"index_gradient": 0.25}),
        row("HSNN", **old),
        row("HSNN", **old | {"index_learning": "separate"}),
        row("HSNN", **LAYERS | {"item_epochs": 10}),
        row("HSNN", **LAYERS | {"item_epochs": 2, "index_balance": 0}),
    ]
    names = [line.split("|")[1].strip() for line in serving_table(rows).splitlines()[2:8]]
    assert [name.removeprefix("HSNN L on 30 nodes, S") for name in names] == [
        "",
        "; gradient through the index 0.25",
        "; learnt through the ensemble; gradient through the index 1",
        "; index separate; learnt through the ensemble",
        "; 10 epochs of the item layer first",
        "; without balance",
    ]


def test_a_row_says_how_the_nodes_start_and_whether_they_move():
    paper = {"index_direction": "top_down", "index_start": "random", "index_revive": False}
    usual = {"index_direction": "bottom_up", "index_start": "kmeans", "index_revive": True}
    rows = [row("HSNN", **LAYERS), row("HSNN", 2, **LAYERS | paper)]
    lines = serving_table(rows).splitlines()
    assert lines[3].startswith(
        "| HSNN L on 30 nodes, S; residual codes; random first nodes; unused nodes stay |"
    )
    assert (
        serving_table([row("HSNN", **LAYERS | usual)])
        .splitlines()[2]
        .startswith("| HSNN L on 30 nodes, S |")
    )


def test_what_holds_for_all_rows_is_noted():
    plain = serving_table([row(monn_scale=1.0, ranking_users=None)])
    assert "monn_scale" not in plain and "ranking_users" not in plain
    scaled = {"monn_scale": 0.25, "ranking_users": 50}
    table = serving_table([row(**scaled), row("MoNN", monn_size="S", **scaled)])
    assert table.splitlines()[-1] == "- `monn_scale` 0.25, `ranking_users` 50"


def test_rows_that_do_not_belong_are_refused():
    with pytest.raises(ValueError, match="a row is of BPR"):
        other = row("BPR")
        del other["serving"]
        serving_table([row(), other])
    with pytest.raises(ValueError, match="different protocol"):
        serving_table([row(), row(seed=2) | {"protocol": "published"}])


def test_what_was_not_measured_is_a_dash():
    made = row()
    del made["metrics"]["recall@20"], made["serving"]["index_recall@20"]
    cells = [cell.strip() for cell in serving_table([made]).splitlines()[2].split("|")]
    assert cells[1:8] == ["TTSN", "1", "0.8000", "–", "0.7000", "–", "–"]
