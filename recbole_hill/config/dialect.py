"""The YAML dialect of settings: RecBole's numbers and plain data; nothing in it runs code.

The type of a setting is the type that its YAML has. RecBole's own ``Config`` passes every string to
``eval``; here no string is evaluated, wherever it comes from.
"""

import json
import re

import yaml

#: Settings that hold a name or a path: their text is taken as it is, also where it looks like YAML.
TEXT = frozenset(
    {
        "model",
        "dataset",
        "backbone",
        "index_learning",
        "pair_selector",
        "data_path",
        "run_dir",
        "checkpoint_dir",
        "floor_file",
        "warm_start",
        "backbone_from",
        "pretrained_from",
        "distill_from",
        "wandb_project",
        "user_inter_num_interval",
        "item_inter_num_interval",
        "field_separator",
        "seq_separator",
    }
)
#: RecBole writes 1e-3 for a number, which YAML 1.1 takes for a word.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9_]+(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class SettingsLoader(yaml.SafeLoader):
    """Loads plain data alone.

    It refuses aliases, because a few of them can make a file of any size, and a key that stands
    twice in a mapping, because one of the two values would be lost.
    """

    def compose_node(self, parent, index):
        """PyYAML's hook for every node."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not accepted", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        """PyYAML's hook for every mapping."""
        mapping = super().construct_mapping(node, deep)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                problem = f"key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return mapping


def load_settings(text: str):
    """Returns the plain data of a YAML text.

    Raises:
        yaml.YAMLError: If the text is not YAML, nests too deep, uses tags or aliases, or has a key
            twice; in one line, with the number of the text's line.
    """
    try:
        return yaml.load(text, Loader=SettingsLoader)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise yaml.YAMLError(f"{error.problem}{line}") from error
    except RecursionError:
        raise yaml.YAMLError("it nests too deep") from None
    except ValueError as error:  # a date that is none, digits without end
        raise yaml.YAMLError(str(error)) from error


class _PlainDumper(yaml.SafeDumper):
    """Writes a list again where two settings share it, instead of an alias."""

    def ignore_aliases(self, data) -> bool:
        """PyYAML's hook."""
        return True


for _one in (SettingsLoader, _PlainDumper):  # the dumper quotes a text that looks like a number
    _one.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def dump_settings(settings: dict) -> str:
    """Returns settings as YAML, in their order, as :func:`load_settings` reads it."""
    return yaml.dump(settings, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


def parse_value(text: str):
    """Reads a value: YAML in RecBole's dialect, a plain word staying a string."""
    try:
        return load_settings(text)
    except yaml.YAMLError:
        return text


def parse_setting(key: str, text: str):
    """Reads the value of a setting from a command line; ``~`` is no value."""
    if key in TEXT:
        return None if text == "~" else text
    return parse_value(text)


def written_setting(key: str, value) -> str:
    """Returns a setting's value as :func:`parse_setting` reads it back."""
    if value is None:
        return "~"
    if isinstance(value, str) and (key in TEXT or _stays(value)):
        return value
    return json.dumps(value)


def _stays(text: str) -> bool:
    """Returns whether a text is read back as the same text."""
    return parse_value(text) == text
