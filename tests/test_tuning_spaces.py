"""The search spaces: shipped ones against the models' settings, and how a space is drawn from."""

import math

import numpy as np
import pytest
from conftest import tiny_settings
from scipy.stats import kstest
from tiny_models import MODELS, NEEDS

from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import internal_defaults, owners, read_properties, tuning
from recbole_hill.data.splits import load_data
from recbole_hill.experiments.sweep.space import Space
from recbole_hill.experiments.sweep.sweep import _fitting
from recbole_hill.model.build import build_model
from recbole_hill.model.settings import HillSettings

TABLE = read_properties("table", "3.yaml")
NAMES = [*TABLE["rows"], *TABLE["beyond"]]
DATASETS = ("ml-100k", "gowalla", "yelp2018", "amazon-book")


def test_every_model_of_table_3_has_a_space_and_nothing_else_has():
    shipped = {file.name.removesuffix(".yaml") for file in tuning().iterdir()}
    assert {name for name in shipped if not name.endswith(".py")} - {"__pycache__"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_the_models_own_settings(name):
    own = owners(name).keys()
    for dataset in DATASETS:
        defaults = internal_defaults(name, dataset)
        space = Space.of_model(name, dataset)
        assert set(space.keys) <= own
        for cell in space.grid() if space.size <= 500 else space.draw(200, 0):
            for key, value in cell.items():
                # `reg_weight: 10` for 10.0 is fine; a word for a number is not.
                if "auto" not in (value, defaults[key]):  # which the schema accepts
                    assert _kind(value) == _kind(defaults[key]), (key, value, defaults[key])


def _kind(value):
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return [_kind(v) for v in value[:1]] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_some_dataset_are_among_what_is_searched(name):
    """A space is around what the model is run with, not somewhere else."""
    defaults = [internal_defaults(name, dataset) for dataset in DATASETS]
    for dimension in Space.of_model(name, "ml-100k").dimensions:
        tried = [{key: each[key] for key in dimension.keys} for each in defaults]
        assert any(values in tried for values in dimension.values), dimension


@pytest.mark.parametrize(
    "name", [*sorted(set(NAMES) & MODELS.keys() - NEEDS.keys()), "HILL", "NESCL"]
)
def test_models_accept_what_is_drawn(name, tiny_path, tmp_path):
    own = tiny_settings(tiny_path, name, run_dir=str(tmp_path))
    space = _fitting(Space.of_model(name, "tiny"), HillConfig(name, "tiny", None, own))
    for settings in space.draw(2, seed=1):
        config = HillConfig(name, "tiny", None, {**own, **settings})
        build_model(config, load_data(config))


@pytest.mark.parametrize(
    ("name", "key", "ranks"),
    [
        ("GF-CF", "ideal_rank", [16, 24]),  # of 16, 32, 64 and 128: 24 is half of the 48 items
        ("BSPM-EM", "ideal_rank", [16, 24]),
        ("ChebyCF", "ideal_rank", [16, 24]),
        ("SpectralMF", "embedding_size", [24]),
        ("SpectralSSM", "spectral_rank", [24]),
    ],
)
def test_ranks_of_a_space_are_cut_to_what_the_data_allow(name, key, ranks, tiny_config):
    space = _fitting(Space.of_model(name, "tiny"), tiny_config(name))
    (dimension,) = (d for d in space.dimensions if key in d.keys)
    assert [value[key] for value in dimension.values] == ranks


def test_a_cut_space_by_hand():
    space = Space.parse(
        {
            "together": [{"r": 4, "a": 1}, {"r": 9, "a": 1}, {"r": 8, "a": 1}, {"r": 9, "a": 2}],
            "x": {"choice": [9]},
        },
        "tiny",
    )
    assert space.capped("r", 5).grid() == [
        {"r": 4, "a": 1, "x": 9},
        {"r": 5, "a": 1, "x": 9},
        {"r": 5, "a": 2, "x": 9},
    ]
    ranges = Space.parse({"r": {"integer": [2, 9]}}, "tiny")
    assert [ranges.capped("r", most).dimensions[0].values for most in (20, 5, 1)] == [
        (2, 9),
        (2, 5),
        ({"r": 1},),
    ]


def test_every_tree_of_hills_space_fits_a_tiny_catalogue(tiny_config):
    (trees,) = (d for d in Space.of_model("HILL", "tiny").dimensions if len(d.keys) > 1)
    found = []
    for settings in trees.values:
        config = tiny_config("HILL", **settings)
        data = load_data(config)
        found.append(HillSettings.from_config(config, data.dataset.item_num - 1).nodes_per_depth)
    assert found == [(6,), (6, 2), (6, 2), (10, 2), (10, 2)]


def test_a_grid_is_every_combination_in_order():
    space = Space.parse(
        {
            "a": {"choice": [1, 2]},
            "together": [{"b": [1], "c": 1}, {"b": [1, 2], "c": 2}],
        },
        "any",
    )
    assert space.size == 4
    assert space.keys == ["a", "b", "c"]
    assert space.grid() == [
        {"a": 1, "b": [1], "c": 1},
        {"a": 1, "b": [1, 2], "c": 2},
        {"a": 2, "b": [1], "c": 1},
        {"a": 2, "b": [1, 2], "c": 2},
    ]


def test_an_empty_space_is_one_trial():
    space = Space.of_model("Pop", "ml-100k")
    assert space.grid() == space.draw(20, 0) == [{}]


def test_draws_have_the_distributions_that_are_asked_for():
    space = Space.parse(
        {
            "rate": {"log_uniform": [1e-4, 1e-1]},
            "drop": {"uniform": [0.2, 0.6]},
            "depth": {"integer": [1, 3]},
        },
        "any",
    )
    assert math.isinf(space.size)
    drawn = space.draw(2000, seed=3)
    logs = [math.log10(settings["rate"]) for settings in drawn]
    assert kstest(logs, "uniform", args=(-4, 3)).pvalue > 0.01
    assert kstest([s["drop"] for s in drawn], "uniform", args=(0.2, 0.4)).pvalue > 0.01
    counts = np.bincount([settings["depth"] for settings in drawn], minlength=4)
    assert counts[0] == 0
    assert (abs(counts[1:] - 2000 / 3) < 4 * math.sqrt(2000 * 2 / 9)).all()


def test_draws_are_distinct_repeatable_and_begin_alike():
    space = Space.parse({"a": {"choice": [1, 2, 3]}, "b": {"choice": [1, 2, 3, 4]}}, "any")
    whole = space.draw(100, seed=5)
    assert len(whole) == 12
    assert sorted(whole, key=str) == sorted(space.grid(), key=str)
    assert space.draw(5, seed=5) == whole[:5]
    assert space.draw(5, seed=6) != whole[:5]


def test_a_range_narrower_than_its_digits_ends():
    assert len(Space.parse({"a": {"uniform": [1.0, 1.0001]}}, "any").draw(50, 0)) <= 3


def test_lines_of_a_dataset_replace_the_others():
    given = {"a": {"choice": [1]}, "b": {"choice": [2]}}
    given["per_dataset"] = {"x": {"a": {"choice": [9]}}}
    assert Space.parse(given, "x").grid() == [{"a": 9, "b": 2}]
    assert Space.parse(given, "y").grid() == [{"a": 1, "b": 2}]
    assert Space.of_model("HILL", "gowalla").grid()[0]["nodes_per_depth"] == [8000]


def test_fixed_keys_are_not_searched():
    space = Space.parse(
        {"a": {"choice": [1, 2]}, "together": [{"b": 1, "c": 1}, {"b": 2, "c": 2}]}, "any"
    )
    assert space.without({"a": 5, "z": 1}).keys == ["b", "c"]
    assert space.without({"b": 5, "c": 1}).keys == ["a"]
    with pytest.raises(ValueError, match=r"b is searched together.*fix all of b, c, or none"):
        space.without({"b": 5})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": [1, 2]}, r"a must be one of \{choice"),
        ({"a": {"choices": [1]}}, r"a must be one of"),
        ({"a": {"choice": []}}, r"a: choice must be a list"),
        ({"a": {"uniform": [1, 0]}}, r"a: uniform must be two rising numbers, got \[1, 0\]"),
        ({"a": {"log_uniform": [0, 1]}}, r"two rising numbers above 0, got \[0, 1\]"),
        ({"a": {"integer": [1.5, 2]}}, r"two rising integers"),
        ({"together": [{"a": 1}, {"b": 1}]}, r"mappings of the same keys"),
        ({"a": {"choice": [1]}, "together": [{"a": 1}]}, r"a is searched both alone and"),
        ([1], r"lines of key"),
    ],
)
def test_what_is_wrong_with_a_space_is_said(given, words):
    with pytest.raises(ValueError, match=rf"mine.yaml: .*{words}"):
        Space.parse(given, "any", "mine.yaml")


def test_a_grid_of_a_continuous_key_is_refused():
    with pytest.raises(ValueError, match=r"a is uniform; accepted there are random and asha"):
        Space.parse({"a": {"uniform": [0, 1]}}, "any").grid()


def test_a_model_without_a_space_needs_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tuning/MoNN\.yaml.*--space=FILE"):
        Space.of_model("MoNN", "ml-100k")
    with pytest.raises(FileNotFoundError, match=r"search space .*none\.yaml does not exist"):
        Space.of_file(tmp_path / "none.yaml", "ml-100k")
    (tmp_path / "mine.yaml").write_text("a: {choice: [1e-3]}\n")  # RecBole's dialect: a number
    assert Space.of_file(tmp_path / "mine.yaml", "ml-100k").grid() == [{"a": 0.001}]
    (tmp_path / "bad.yaml").write_text("a: {choice: [1\n")
    with pytest.raises(ValueError, match=r"bad\.yaml is not YAML"):
        Space.of_file(tmp_path / "bad.yaml", "ml-100k")
