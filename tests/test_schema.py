"""The schema of settings: what it accepts, how it refuses, and that every YAML file agrees."""

import re
from pathlib import Path

import pytest
import yaml

from recbole_hill import registry
from recbole_hill.config.config import HillConfig
from recbole_hill.config.dialect import load_settings, parse_setting
from recbole_hill.config.properties import properties, read_properties, read_yaml, tuning
from recbole_hill.config.schema import accepted, check, keys_of_every_run, schema_of, shown
from recbole_hill.experiments.sweep.space import Space

SCHEMA = read_properties("schema.yaml")
#: Terms of JSON Schema that the file uses; another word is most likely a title without quotes.
TERMS = {
    *("type", "enum", "const", "anyOf", "$ref", "title", "description", "pattern", "minLength"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "items", "minItems"),
    *("maxItems", "uniqueItems", "properties", "additionalProperties", "propertyNames"),
    *("required", "minProperties", "maxProperties"),
}
DATASETS = ("ml-100k", "ml-1m", "gowalla", "yelp2018", "amazon-book", "kuairand-pure")
#: What a comment's type is in terms of JSON Schema.
COMMENTS = {
    "int": {"integer"},
    "float": {"number"},
    "bool": {"boolean"},
    "str": {"string"},
    "list": {"array"},
    "dict": {"object"},
}
NAN, INF = float("nan"), float("inf")

#: Schemas with values that they accept and values that they refuse.
VALUES = [
    ({"type": "integer", "minimum": 1}, [1, 7], [0, -1, 1.0, 1.5, True, "1", None, NAN, [1]]),
    ({"type": "number", "exclusiveMinimum": 0}, [1, 0.5], [0, -1.0, True, "1", NAN, INF, -INF]),
    ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, [0, 0.99], [1, -0.1, NAN, False]),
    ({"type": "boolean"}, [True, False], [0, 1, "true", "maybe", None]),
    ({"type": "string", "minLength": 1}, ["a"], ["", 1, None, ["a"]]),
    ({"type": ["integer", "null"]}, [None, 3], ["3", 3.0]),
    ({"enum": ["in", "out"]}, ["in"], ["IN", 1, None, ["in"]]),
    ({"enum": [1]}, [1], [True, "1", 2]),
    ({"type": "array", "items": {"type": "integer"}}, [[1], (1, 2), []], [1, [1, "2"], {"a": 1}]),
    ({"$ref": "#/$defs/interval"}, ["[5,inf)", "(0, 1];[3,4)", None], ["5", "[5]", "[a,b]", 5]),
    ({}, [None, 1, "a", [1], NAN], []),
]


@pytest.mark.parametrize(("schema", "good", "bad"), VALUES)
def test_values_are_accepted_or_refused(schema, good, bad):
    for value in good:
        check("key", value, schema)
    for value in bad:
        with pytest.raises(ValueError, match=r"^key must be "):
            check("key", value, schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "an integer >= 1"),
        ({"type": "integer", "minimum": 0, "maximum": 9}, "an integer in [0, 9]"),
        ({"type": "number", "exclusiveMinimum": 0}, "a number above 0"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "a number in [0, 1)"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "a number in (0, 1]"),
        ({"type": ["integer", "null"], "minimum": 1}, "an integer >= 1 or ~"),
        ({"enum": ["a", "b", None]}, "one of a, b, ~"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "array", "title": "a list of ids"}, "a list of ids"),
    ],
)
def test_what_is_accepted_is_said_in_words(schema, words):
    assert accepted(schema) == words


def test_a_message_is_one_short_line_with_the_innermost_key():
    with pytest.raises(ValueError) as refused:
        check("eval_args", {"split": {"RS": "half"}}, schema_of("eval_args"))
    said = "eval_args split RS must be a list of two or three numbers >= 0, got 'half'"
    assert str(refused.value) == said
    assert shown(None) == "~" and shown("a\nb") == r"'a\nb'"
    assert len(shown(list(range(1000)))) == 80 and shown(list(range(1000))).endswith("...")


def test_each_schema_is_of_known_terms_and_has_a_meaning():
    named = {**SCHEMA["runs"], **SCHEMA["models"]}
    named |= {
        f"{model} {key}": s for model, own in SCHEMA["of_model"].items() for key, s in own.items()
    }
    for key, schema in named.items():
        assert schema["description"], key
        assert set(schema) <= TERMS, key
        assert accepted(schema), key
        for value in (object(), INF):
            with pytest.raises(ValueError, match=re.escape(key)):
                check(key, value, schema)


def test_a_setting_of_a_plugin_or_of_recbole_has_the_type_of_its_default():
    assert schema_of("alpha", "MGDCF", 0.1)["maximum"] == 1
    assert schema_of("alpha", None, 921.6) == {"type": "number"}
    kinds = [(1, "integer"), (0.5, "number"), ("a", "string"), (True, "boolean"), ([], "array")]
    for default, kind in kinds:
        assert schema_of("of_theirs", None, default) == {"type": kind}
    assert schema_of("of_theirs", None, None) == {}
    assert schema_of("seed", None, None) == SCHEMA["runs"]["seed"]


def test_a_model_has_bounds_of_its_own():
    HillConfig("HSNN", "ml-100k", None, {"beam_width": "full"})
    with pytest.raises(
        ValueError, match=r"beam_width must be an integer >= 1, a list of such, or auto"
    ):
        HillConfig("HILL", "ml-100k", None, {"beam_width": "full"})
    HillConfig("GRMF", "ml-100k", None, {"reg_weight": 0})
    with pytest.raises(ValueError, match=r"reg_weight must be a number above 0, got 0"):
        HillConfig("EASE", "ml-100k", None, {"reg_weight": 0})
    with pytest.raises(ValueError, match=r"n_layers must be an integer >= 1, got 0"):
        HillConfig("HILL", "ml-100k", None, {"backbone": "IA-GCN", "n_layers": 0})


def test_no_value_is_accepted_where_it_is_the_default():
    assert (
        HillConfig("BPR", "ml-100k", None, {"threads": None, "warm_start": None})["threads"] is None
    )
    with pytest.raises(ValueError, match="init_std must be a number >= 0, got ~"):
        HillConfig("BPR", "ml-100k", None, {"init_std": None})


def yaml_files():
    folders = [properties(), *map(properties, ("model", "dataset", "features", "preset"))]
    files = [file for folder in folders for file in folder.iterdir() if file.name.endswith(".yaml")]
    return [file for file in files if file.name != "schema.yaml"]


@pytest.mark.parametrize(
    "file", yaml_files(), ids=lambda file: f"{Path(str(file)).parent.name}/{file.name}"
)
def test_the_comments_and_defaults_of_a_file_agree_with_the_schema(file):
    owner = file.name.removesuffix(".yaml") if Path(str(file)).parent.name == "model" else None
    settings = read_yaml(file)
    settings.pop("extends", None)
    blocks = [settings.pop(name, None) or {} for name in ("per_dataset", "presets")]
    of_labels = settings.pop("labelled", None) or {}
    layers = [settings, of_labels, *(layer for block in blocks for layer in block.values())]
    for key, value in [pair for layer in layers for pair in layer.items()]:
        schema = schema_of(key, owner)
        assert schema, f"{key} has no schema"
        if value is not None:
            check(key, value, schema)
    for line in file.read_text(encoding="utf-8").splitlines():
        comment = re.match(r"(\w+):.*?#\s*\(([\w ]+)\)", line)
        if comment:
            said = [COMMENTS[kind] for kind in re.split(" or ", comment[2].removesuffix(" of int"))]
            assert set().union(*said) & types(schema_of(comment[1], owner)), line


def types(schema: dict) -> set[str]:
    """Returns every type that a schema accepts."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    parts = [types(part) for part in schema.get("anyOf", ())]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = {str: "string", int: "integer", bool: "boolean"}
    of_enum = {names[type(v)] for v in schema.get("enum", [schema.get("const")]) if v is not None}
    return set(kinds).union(of_enum, *parts)


@pytest.mark.parametrize(
    "name", sorted(f.name[:-5] for f in tuning().iterdir() if f.name.endswith(".yaml"))
)
def test_every_value_of_a_space_is_accepted(name):
    config = HillConfig(name, "ml-100k")
    for dataset in DATASETS:
        for dimension in Space.of_model(name, dataset).dimensions:
            for key, value in dimension.examples():
                config.require(key, value)


def test_the_defaults_of_recboles_models_are_accepted():
    for entry in registry.recbole_models().values():
        if entry.name in ("LightGBM", "XGBoost"):  # need a library that is not installed
            continue
        try:
            HillConfig(entry.name, "ml-100k")
        except ValueError as error:  # RecBole's rule on two of its settings
            assert "should be None when the loss_type is CE" in str(error)


def test_settings_of_every_run_are_recboles_and_ours():
    from recbole.utils import argument_list

    theirs = {
        key
        for group in ("general", "training", "evaluation", "dataset")
        for key in getattr(argument_list, f"{group}_arguments")
    }
    assert theirs - keys_of_every_run() == {"config_file"}
    assert {"protocol", "split_seed", "run_dir", "tasks"} <= keys_of_every_run()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: 2\na: 3\n", 3), ("x:\n  a: 1\n  a: 1\n", 3), ("{a: 1, 'a': 2}", 1)],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(text, line):
    with pytest.raises(yaml.YAMLError, match=rf"^key 'a' stands twice \(line {line}\)$"):
        load_settings(text)
    assert load_settings("{1: a, '1': b}") == {1: "a", "1": "b"}


def test_an_interval_on_a_command_line_is_text():
    assert parse_setting("user_inter_num_interval", "[5,10]") == "[5,10]"
    assert HillConfig("BPR", "ml-100k", None, {"user_inter_num_interval": "[5,10]"})
