"""Defaults on datasets that nobody tuned: the block ``otherwise``, and values that are auto."""

import json
from pathlib import Path

import pytest
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.properties import internal_defaults
from recbole_hill.data.auto import (
    Size,
    batch_size,
    kept_nodes,
    n_walks,
    node_counts,
    resolve,
    shrunk,
)
from recbole_hill.data.splits import load_data
from recbole_hill.pipeline import run
from recbole_hill.run.folder import read_config

#: The settings of 2026-11, before unnamed datasets had defaults of their own.
BEFORE = [
    json.loads(line) for line in Path(__file__).with_name("defaults.jsonl").read_text().splitlines()
]
ML_100K = Size(rows=80_000, users=943, items=1682)
#: Settings that differ on ml-100k since then: 2,000 rows a batch are no power of two.
DIFFERENT = {
    # A fifth of the nodes finds nearly as much as 60 of them, at half the cost.
    "HILL": {"beam_width": [40, 20]},
    "DGCF": {"train_batch_size": 2048},
    # On sparse data, and where tastes differ little, the noise of a larger start stays.
    **{m: {"init_std": 0.01} for m in ("BPR", "GRMF", "GRMF-norm", "HOP-Rec", "UltraGCN")},
    # Validation dips before it rises on sparse data.
    "GAT": {"stopping_step": 20},
    "GC-MC": {"stopping_step": 20},
    # More training than this falls below popularity on sparse data.
    "DeepWalk": {"n_walks": 21, "skip_gram_learning_rate": 0.025},
    "Node2Vec": {"n_walks": 10, "skip_gram_learning_rate": 0.025},
    "Item2Vec": {"score": "context", "skip_gram_learning_rate": 0.025},
}


def resolved(model: str, dataset: str, size: Size, **overrides) -> HillConfig:
    config = HillConfig(model, dataset, None, overrides)
    resolve(config, size)
    return config


@pytest.mark.parametrize("then", BEFORE, ids=lambda then: f"{then['model']}-{then['dataset']}")
def test_tuned_and_published_settings_stay(then):
    model, dataset = then["model"], then["dataset"]
    if dataset == "ml-100k":
        now = plain_settings(resolved(model, dataset, ML_100K))
        expected = then["settings"] | DIFFERENT.get(model, {})
    else:
        now, expected = internal_defaults(model, dataset), then["settings"]
    assert {key: now[key] for key in expected} == expected


def test_the_counts_of_ml_100k_itself():
    for model, batch in {"BPR": 1024, "Mult-VAE": 128, "LightGCN": 2048}.items():
        config = HillConfig(model, "ml-100k", None, {"state": "ERROR"})
        assert config["train_batch_size"] == "auto"
        load_data(config)
        assert config["train_batch_size"] == batch


@pytest.mark.parametrize(
    ("n", "steps", "batch"),
    [
        (80_000, 40, 2048),  # 2,000
        (80_000, 80, 1024),  # 1,000
        (943, 8, 128),  # 118
        (8_219, 40, 256),  # 205
        (54_800, 40, 1024),  # 1,370: 346 from 1,024 and 678 from 2,048
        (100, 40, 64),
        (5_000_000, 40, 8192),
    ],
)
def test_batch_size(n, steps, batch):
    assert batch_size(n, steps) == batch


@pytest.mark.parametrize(
    ("items", "nodes"),
    [(1682, [200, 20]), (1286, [200, 20]), (40_981, [5000, 500]), (100, [10, 2]), (20, [2])],
)
def test_node_counts(items, nodes):
    assert node_counts(items) == nodes


@pytest.mark.parametrize(
    ("nodes", "kept"),
    [
        ([200, 20], [40, 20]),  # half of 20 nodes, or more, is kept: all
        ([400, 41], [80, 20]),
        ([5000, 500], [80, 80]),
        ([99, 40], [20, 40]),
        ([6, 2], [6, 2]),
        (300, [60]),
    ],
)
def test_the_beam_follows_the_nodes(nodes, kept):
    assert kept_nodes(nodes) == kept
    config = resolved("HILL", "mine", ML_100K, data_path="x", nodes_per_depth=nodes)
    assert config["beam_width"] == kept
    asked = resolved("HILL", "mine", ML_100K, data_path="x", nodes_per_depth=nodes, beam_width=7)
    assert asked["beam_width"] == 7


def test_epochs_and_patience_shrink_above_the_largest_batch():
    config = resolved("MF-SSM", "mine", Size(8192 * 40, 9, 9), data_path="x")
    assert (config["epochs"], config["stopping_step"]) == (100, 10)
    config = resolved("MF-SSM", "mine", Size(8192 * 80, 9, 9), data_path="x")
    assert (config["train_batch_size"], config["epochs"], config["stopping_step"]) == (8192, 50, 5)
    config = resolved("MF-SSM", "mine", Size(8192 * 4000, 9, 9), data_path="x", epochs=70)
    assert (config["epochs"], config["stopping_step"]) == (70, 3)  # as given; the least
    assert shrunk(100, 0.01, 20) == 20 and shrunk(2, 0.01, 3) == 2


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("GF-CF", "ideal_rank"),
        ("SpectralMF", "embedding_size"),
        ("SVD-AE", "embedding_size"),
        ("SpectralSSM", "spectral_rank"),
    ],
)
def test_a_default_rank_fits_small_data(model, key):
    default = HillConfig(model, "mine", None, {"data_path": "x"})[key]
    large = resolved(model, "mine", ML_100K, data_path="x")
    small = resolved(model, "mine", Size(100, 30, 21), data_path="x")
    assert (large[key], small[key]) == (default, 10) and default > 10
    asked = resolved(model, "mine", Size(100, 30, 21), data_path="x", **{key: 25})
    assert asked[key] == 25  # refused by the model, not changed


def test_the_rank_of_a_backbone_fits_small_data():
    config = resolved("HILL", "mine", Size(100, 30, 21), data_path="x", backbone="SpectralMF")
    assert config["embedding_size"] == 10


@pytest.mark.parametrize(
    ("size", "walk_length", "walks"),
    [
        (Size(30_000, 600, 400), 40, 20),  # 27 * 30 nodes, in walks of 40
        (Size(30_000, 600, 400), 80, 10),
        (Size(3_000, 600, 400), 40, 10),  # 81 nodes, 400 at least
        (Size(300_000, 600, 400), 40, 40),  # 8,100 nodes, 1,600 at most
        (Size(3_000, 600, 400), 1000, 1),
    ],
)
def test_walks_by_hand(size, walk_length, walks):
    assert n_walks(size, walk_length) == walks
    config = resolved("DeepWalk", "mine", size, data_path="x", walk_length=walk_length)
    assert config["n_walks"] == walks


def test_a_named_dataset_gets_its_own_block_alone():
    assert internal_defaults("BPR", "yelp2018")["n_negatives"] == 50
    assert internal_defaults("BPR", "gowalla")["n_negatives"] == 300
    assert internal_defaults("BPR", "mine")["n_negatives"] == 16


def test_auto_may_be_asked_for_on_a_published_dataset():
    asked = {"data_path": "x", "train_batch_size": "auto", "nodes_per_depth": "auto"}
    config = resolved("HILL", "gowalla", Size(810_128, 29_858, 40_981), **asked)
    assert config["train_batch_size"] == 8192
    assert config["nodes_per_depth"] == [5000, 500]
    assert config["epochs"] == 81  # 200 of 40 steps: 200 * 8192 * 40 / 810,128


def test_auto_is_accepted_where_a_rule_exists_only():
    for model, key in (("BPR", "epochs"), ("EBR", "nodes_per_depth"), ("HILL", "ttt_epochs")):
        with pytest.raises(ValueError, match=f"{key} must be .*, got 'auto'"):
            HillConfig(model, "ml-100k", None, {key: "auto"})


@pytest.mark.parametrize(
    ("items", "nodes", "phi_dep"),
    [
        (1682, [400, 40, 4], 3),  # ml-100k
        (48, [10, 2], 2),  # a quarter is 12, to one digit; the other two are 2 at least
        (2, [2], 1),
    ],
)
def test_shares_of_the_items_by_hand(items, nodes, phi_dep):
    asked = {"nodes_per_depth": [0.25, 0.025, 0.0025], "interest_thresholds": [0.8, 0.4, 0.2]}
    config = resolved("HILL", "mine", Size(100, 10, items), data_path="x", phi_dep=3, **asked)
    assert (config["nodes_per_depth"], config["phi_dep"]) == (nodes, phi_dep)


def test_auto_is_an_eighth_and_an_eightieth():
    assert all(node_counts(n) == node_counts(n, [0.125, 0.0125]) for n in (9, 48, 1682, 40_981))


def test_one_depth_leaves_one_depth_of_pairs():
    config = resolved("HILL", "mine", Size(100, 10, 20), data_path="x")
    assert (config["nodes_per_depth"], config["phi_dep"]) == ([2], 1)


@pytest.mark.parametrize("protocol", ["holdout", "refit"])
def test_a_run_records_what_auto_became(tiny_path, in_tmp, protocol):
    auto = {"train_batch_size": "auto", "nodes_per_depth": "auto", "steps_per_epoch": 4}
    auto |= {"beam_width": "auto", "adapt_control": [], "protocol": protocol, "epochs": 2}
    result = run("HILL", "tiny", overrides=tiny_settings(tiny_path, "HILL", **auto))
    # tiny: some 560 train rows, of which validation takes a tenth, and 48 items.
    expected = {"train_batch_size": 128, "nodes_per_depth": [6, 2], "beam_width": [6, 2]}
    for settings in (read_config(result.folder), result.rows[0]["settings"]):
        assert {key: settings[key] for key in expected} == expected
    if protocol == "refit":
        inner = read_config(result.folder / "holdout")
        assert {key: inner[key] for key in expected} == expected
    again = run(resume=str(result.folder))
    assert again.rows[0]["metrics"] == result.rows[0]["metrics"]


def test_refit_keeps_the_holdouts_batch(tiny_path, in_tmp):
    """On the border between two powers of two, refit's more rows would ask for the larger."""
    settings = tiny_settings(tiny_path, "BPR", train_batch_size="auto", epochs=1)
    rows = {}
    for protocol in ("holdout", "published"):
        config = HillConfig("BPR", "tiny", None, settings | {"protocol": protocol})
        rows[protocol] = len(load_data(config).train._dataset.inter_feat)
    border = (rows["holdout"] + rows["published"]) / 2 / 96  # 96 is between 64 and 128
    steps = round(border)
    assert batch_size(rows["holdout"], steps) == 64 < batch_size(rows["published"], steps)
    settings |= {"steps_per_epoch": steps, "protocol": "refit"}
    result = run("BPR", "tiny", overrides=settings)
    assert read_config(result.folder)["train_batch_size"] == 64
    assert result.rows[0]["settings"]["train_batch_size"] == 64
