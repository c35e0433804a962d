"""Configuration: precedence, strict keys, protocols, devices, and no ears for sys.argv."""

import sys

import pytest
import torch

from recbole_hill import registry
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.dialect import parse_value
from recbole_hill.model.settings import HillSettings


def config(**overrides):
    return HillConfig("HILL", "ml-100k", None, overrides)


def test_precedence(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: 1e-2\nttt_epochs: 7\n")
    made = HillConfig("HILL", "ml-100k", [str(file)], {"ttt_epochs": 9})
    assert made["ttt_epochs"] == 9  # override over file
    assert made["learning_rate"] == 0.01  # file over model, and 1e-2 is a number
    assert made["n_layers"] == 2  # the backbone's per_dataset over its own default
    assert made["topk"] == [10, 20, 50]  # ours over RecBole's
    assert made["metrics"] == ["Recall", "NDCG"]


def test_per_dataset_settings_of_the_papers():
    settings = {
        name: HillConfig("NESCL", name, None, {"data_path": "x"})
        for name in ("gowalla", "yelp2018", "amazon-book")
    }
    keys = ("n_layers", "ssl_weight", "n_neighbours", "ssl_form", "use_bpr", "dropout_kind")
    found = {name: tuple(c[key] for key in keys) for name, c in settings.items()}
    assert found == {
        "gowalla": (3, 0.1, 5, "out", True, "node"),
        "yelp2018": (2, 0.3, 15, "out", True, "node"),
        "amazon-book": (2, 0.3, 5, "in", False, "edge"),
    }


def test_backbone_brings_its_own_settings():
    made = config(backbone="LightGCN")
    assert made["backbone"] == "LightGCN" and made["n_layers"] == 2
    with pytest.raises(ValueError, match="unknown key 'ssl_tau'"):
        config(backbone="LightGCN", ssl_tau=0.2)


def test_unknown_key_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown key 'nodes_per_dept'.*nodes_per_depth"):
        config(nodes_per_dept=[3])


@pytest.mark.parametrize(
    ("model", "hint"), [("HIL", "HILL"), ("nescl", "NESCL"), ("LightGC", "LightGCN")]
)
def test_unknown_model_names_the_nearest(model, hint):
    with pytest.raises(ValueError, match=f"unknown model '{model}'.*{hint}"):
        HillConfig(model, "ml-100k")


def test_missing_dataset_or_model():
    with pytest.raises(ValueError, match="no dataset given"):
        HillConfig("BPR")
    with pytest.raises(ValueError, match="no model given"):
        HillConfig(None, "ml-100k")


def test_missing_config_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        HillConfig("BPR", "ml-100k", ["nowhere.yaml"])


def test_unknown_protocol():
    with pytest.raises(ValueError, match=r"holdout, refit, published, got 'test'"):
        config(protocol="test")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available here")
@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"device": "cuda:1"}, {"use_gpu": True}])
def test_cuda_asked_for_and_absent(asked):
    with pytest.raises(ValueError, match="CUDA is not available"):
        config(**asked)


def test_device_is_checked_and_environment_left_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    import os

    assert config()["device"] == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N, got 'tpu'"):
        config(device="tpu")


def test_sys_argv_is_not_read(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--learning_rate=9", "--unknown=1", "-q"])
    assert config()["learning_rate"] == 0.01  # the YAML file's


def test_round_trip_through_plain_settings():
    made = config(protocol="refit", nodes_per_depth=[50, 5])
    again = HillConfig(None, None, None, plain_settings(made))
    assert plain_settings(again) == plain_settings(made)


def test_recbole_models_run_by_name_with_their_own_keys():
    assert HillConfig("MultiVAE", "ml-100k", None, {"anneal_cap": 0.1})["anneal_cap"] == 0.1
    with pytest.raises(ValueError, match="anneal_cap"):
        HillConfig("BPR", "ml-100k", None, {"anneal_cap": 0.1})


@pytest.mark.parametrize(
    ("text", "value"),
    [("[3, 2]", [3, 2]), ("1e-3", 0.001), ("True", True), ("out", "out"), ("a: b: c", "a: b: c")],
)
def test_parse_value(text, value):
    assert parse_value(text) == value


#: Settings that do not fit each other, the catalogue, or the registries.
BAD_RELATIONS = [
    ({"nodes_per_depth": [2000, 10]}, "nodes_per_depth has 2000 nodes for 100 items"),
    ({"phi_dep": 3}, "phi_dep 3 needs as many depths"),
    ({"beam_width": [1, 2, 3]}, "beam_width must be a positive integer, or one per depth"),
    ({"index_learning": "emm"}, "unknown index_learning 'emm'; did you mean em"),
    ({"pair_selector": "interests"}, "unknown pair_selector 'interests'; did you mean interest"),
]

BAD_SETTINGS = [
    *(
        (
            {"nodes_per_depth": nodes},
            r"nodes_per_depth must be an integer >= 1, a list of such or of shares in \(0, 1\), or "
            "auto",
        )
        for nodes in ([], [10, 0], [0.25, 4], [0.25, 1.5], 0.25)
    ),
    ({"interest_thresholds": [0.8, 1.2]}, r"interest_thresholds must be a list of numbers in \[0"),
    ({"interest_thresholds": [0.8, -0.1]}, r"interest_thresholds must be a list of numbers in"),
    ({"phi_dep": 0}, "phi_dep must be an integer >= 1"),
    ({"pair_negatives": "easy"}, "pair_negatives must be one of random, sibling, hard, all"),
    ({"pair_weighting": "depth"}, "pair_weighting must be one of equal, rate"),
    ({"pair_history": -1}, "pair_history must be an integer >= 0"),
    ({"adapt_control": ["nothing"]}, "adapt_control must be a list among continue"),
    ({"retrieval": "hnsw"}, "retrieval must be one of exact, beam, faiss, got 'hnsw'"),
    ({"node_score": "max"}, "node_score must be one of mean, best, got 'max'"),
    ({"ttt_epochs": "two"}, "ttt_epochs must be an integer >= 0"),
    ({"ttt_epochs": 1.5}, "ttt_epochs must be an integer >= 0, got 1.5"),
    ({"node_vectors": None}, "node_vectors must be one of members, frozen, representative, got ~"),
    ({"index_direction": "up"}, "index_direction must be one of bottom_up, top_down, got 'up'"),
    ({"index_metric": "users"}, "index_metric must be one of items, scores, got 'users'"),
    ({"em_rounds": -1}, "em_rounds must be an integer >= 0, got -1"),
    ({"index_batch": 0}, "index_batch must be an integer >= 1, got 0"),
    ({"index_alpha": 0}, "index_alpha must be a number above 0, got 0"),
    ({"index_gradient": 2}, r"index_gradient must be a number in \[0, 1\], got 2"),
    ({"index_start": "zeros"}, "index_start must be one of kmeans, random, got 'zeros'"),
    ({"index_revive": "perhaps"}, "index_revive must be true or false, got 'perhaps'"),
]

BAD_LEARNERS = [
    (
        {"index_metric": "scores", "index_direction": "top_down"},
        "index_metric scores is for index_direction bottom_up, got top_down",
    ),
    (
        {"index_metric": "scores", "index_learning": "joint"},
        "index_metric scores is for index_learning em, got joint",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_SETTINGS)
def test_hill_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        config(**change)


@pytest.mark.parametrize(("change", "message"), BAD_LEARNERS)
def test_the_settings_of_index_learners_are_checked(change, message):
    values = {**config(nodes_per_depth=[20, 5]).final_config_dict, **change}
    learner = registry.LEARNERS.find(values["index_learning"]).load()
    with pytest.raises(ValueError, match=message):
        learner.from_settings(values, n_items=100, dim=4)


def test_a_retired_setting_is_accepted_at_its_constant_and_refused_elsewhere():
    assert "em_weight" not in config(em_weight=0.1).final_config_dict
    with pytest.raises(ValueError, match=r"em_weight .* accepted is 0.1, got 0.2"):
        config(em_weight=0.2)


@pytest.mark.parametrize(("change", "message"), BAD_RELATIONS)
def test_relations_of_hills_settings_are_checked(change, message):
    made = config(nodes_per_depth=[20, 5])
    values = {**made.final_config_dict, **change}
    with pytest.raises(ValueError, match=message):
        HillSettings.from_config(values, n_items=100)


def test_hill_settings_are_frozen_and_filled():
    nodes = {"nodes_per_depth": [200, 20]}
    settings = HillSettings.from_config(config(beam_width=3, **nodes), n_items=1682)
    one = HillSettings.from_config(
        config(adapt_control="continue", beam_width=9, **nodes), n_items=1682
    )
    assert one.adapt_control == ("continue",)
    assert settings.beam_width == (3, 3) and settings.nodes_per_depth == (200, 20)
    with pytest.raises(AttributeError):
        settings.phi_dep = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("a: &x [*x]", "is not YAML: aliases"),
        ("a: !!python/name:os.system", "is not YAML"),
        ("- epochs", "must hold settings, key: value, got \\['epochs'\\]"),
    ],
)
def test_a_bad_config_file_is_named(tmp_path, text, message):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"config file .*my\.yaml {message}"):
        HillConfig("BPR", "ml-100k", [str(file)])


def test_an_empty_config_file_holds_no_settings(tmp_path):
    (tmp_path / "empty.yaml").write_text("")
    assert HillConfig("BPR", "ml-100k", [str(tmp_path / "empty.yaml")])["model"] == "BPR"


def test_a_preset_wins_over_the_datasets_block_and_not_over_what_is_given():
    plain = HillConfig("NESCL", "ml-100k")
    assert (plain["ssl_warmup_epochs"], plain["valid_metric"]) == (6, "NDCG@20")
    preset = HillConfig("NESCL", "ml-100k", None, {"preset": "authors", "eval_step": 3})
    assert (preset["ssl_warmup_epochs"], preset["valid_metric"]) == (0, "Recall@20")
    assert (preset["eval_step"], preset["n_layers"]) == (3, plain["n_layers"])
    hill = HillConfig("HILL", "ml-100k", None, {"preset": "authors"})
    assert hill["ssl_warmup_epochs"] == 0, "the backbone's presets are HILL's too"
    assert HillConfig("HILL", "ml-100k", None, {"preset": "paper"})["pair_form"] == "vertices+rows"
    shared = HillConfig("LightGCN", "gowalla", None, {"preset": "cpu", "epochs": 50})
    assert (shared["train_batch_size"], shared["epochs"], shared["n_layers"]) == (16384, 50, 3)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("NESCL", "preset 'author' is not one of NESCL's; accepted are authors, quick"),
        ("BPR", "preset 'author' is not one of BPR's; accepted are none"),
    ],
)
def test_an_unknown_preset_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        HillConfig(model, "ml-100k", None, {"preset": "author"})
