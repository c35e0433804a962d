"""A page for each model of the catalogue: paper, formula, settings, cost and results."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import markup
import measured
import unseen
from docstrings import plain

from recbole_hill import registry
from recbole_hill.catalogue import CATALOGUE
from recbole_hill.config.properties import properties, read_properties

#: A line of a settings file: key, default, type, meaning.
SETTING = re.compile(r"^(\w+):\s*(.*?)\s*(?:#\s*(?:\((.+?)\)\s)?(.*))?$")
ORIGINS = {
    "own": "ours",
    "own, for RecBole's": "ours; RecBole's class of this name runs as `recbole.NAME`",
    "recbole": "RecBole's",
    "recbole, patched": "RecBole's, made to run on today's libraries, or to resume",
}


def pages() -> dict[str, str]:
    """Returns the pages' Markdown by their place in the site."""
    ours = {name for name, *_ in CATALOGUE}
    entries = {entry.name: entry for entry in registry.entries()}
    results, why = measured.by_model(), unseen.reasons(measured.RESULTS)
    known = _meanings()
    made = {}
    for name in filter(ours.__contains__, entries):
        rows = results[name]
        parts = [*measured.section(name, rows), *unseen.section(name, rows, why)]
        made[f"models/{name}.md"] = _page(entries[name], known, parts)
    made["models/index.md"] = _index(entries, ours)
    made["commands/settings.md"] = _of_every_run()
    return made


def _index(entries: dict, ours: set[str]) -> str:
    """Returns the page that lists all models."""
    lines = [[f"[{name}]({name}.md)", entries[name].citation] for name in entries if name in ours]
    theirs = [[f"`{name}`", entry.citation] for name, entry in entries.items() if name not in ours]
    return f"""# Models

Every name runs by `--model=NAME`. A model with user and item embeddings can be HILL's backbone:
`--backbone=NAME`.

{markup.table(["model", "paper"], lines)}

## RecBole's own

These models of RecBole run by their names, with RecBole's settings.

{markup.table(["model", "paper"], theirs)}
"""


def _page(entry: registry.ModelEntry, known: dict[str, tuple], results: list[str]) -> str:
    """Returns one model's page."""
    also = f" Also accepted: {', '.join(f'`{a}`' for a in entry.aliases)}." if entry.aliases else ""
    parts = [
        f"# {entry.name}",
        f"{entry.citation}",
        f"Class: `{entry.path.replace(':', '.')}` ({ORIGINS[entry.origin]}).{also}",
        f"```bash\npython run_recbole_hill.py --model={entry.name} --dataset=ml-100k\n```",
        "## What it computes",
        plain(_docstring(entry.path)),
        *_settings(entry.name, known),
        *results,
    ]
    return "\n\n".join(parts) + "\n"


def _docstring(path: str) -> str:
    """Returns the docstring of a class, or its module's, without importing them."""
    module, name = path.split(":")
    package, *rest = module.split(".")
    file = Path(find_spec(package).origin).parent.joinpath(*rest).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    (own,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return ast.get_docstring(own) or ast.get_docstring(tree)


def _settings(name: str, known: dict[str, tuple]) -> list[str]:
    """Returns the parts of a page on the settings of ``properties/model/NAME.yaml``."""
    file = properties("model", f"{name}.yaml")
    if not file.is_file():
        return ["## Settings", "RecBole's; see its documentation."]
    text = file.read_text(encoding="utf-8")
    own, _, per_dataset = text.partition("per_dataset:\n")
    comment = " ".join(line[1:].strip() for line in own.splitlines() if line.startswith("#"))
    values = read_properties("model", f"{name}.yaml")
    parts = ["## Settings", _text(comment), _table(own, values, known)]
    if per_dataset:
        parts += ["Defaults by dataset and by backbone, and presets:", f"```yaml\n{per_dataset}```"]
    return parts


def _of_every_run() -> str:
    """Returns the page on the settings that do not belong to a model."""
    parts = [
        "# Settings of every run",
        "A setting is given as `--key=value`, or in a YAML file by `--config_files`. The page of "
        "each [model](../models/index.md) has its own settings. RecBole's other settings are "
        "accepted, too.",
    ]
    for title, file in (("All models", "overall.yaml"), ("Models of labels", "context.yaml")):
        values = read_properties(file)
        parts += [
            f"## {title}",
            _table(properties(file).read_text(encoding="utf-8"), values, {}),
        ]
    return "\n\n".join(parts) + "\n"


def _table(text: str, values: dict, known: dict[str, tuple]) -> str:
    """Returns the table of a file's settings."""
    lines = [
        [f"`{key}`", kind, f"`{default or values[key]}`", meaning]
        for key, default, kind, meaning in _lines(text, known)
    ]
    return markup.table(["setting", "type", "default", "meaning"], lines)


def _lines(text: str, known: dict[str, tuple]) -> Iterator[tuple[str, str, str, str]]:
    """Returns key, default, type and meaning of each setting of a file."""
    for line in text.splitlines():
        if found := SETTING.match(line):
            key, default, kind, meaning = found.groups()
            kind, meaning = (kind, meaning) if kind else known.get(key, ("", meaning or ""))
            yield key, _text(default), _text(kind), _text(meaning)


def _meanings() -> dict[str, tuple[str, str]]:
    """Returns type and meaning of the settings that a model's file gives without them."""
    found = {}
    for file in [properties("overall.yaml"), *sorted(properties("model").iterdir())]:
        for key, _, kind, meaning in _lines(file.read_text(encoding="utf-8"), {}):
            if kind:
                found.setdefault(key, (kind, meaning))
    return found


def _text(text: str) -> str:
    """Returns plain text as Markdown."""
    return text.replace("<", "&lt;")
