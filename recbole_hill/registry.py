"""Every model by name: where its class is, where it comes from, what to cite.

One look-up serves configuration, running, loading and sweeps, so that a saved model reloads by the
name it was run under. Nothing is imported until a class is asked for.

RecBole's models run by their names. Where a class of ours takes such a name, ``models`` says so and
RecBole's own runs as ``recbole.NAME``.
"""

import ast
import difflib
import importlib
import importlib.util
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

#: Before the name of a RecBole class whose plain name is taken by one of ours.
RECBOLE = "recbole."
#: Origin of a class of ours that takes a name of RecBole's.
REPLACES = "own, for RecBole's"


@dataclass(frozen=True)
class ModelEntry:
    """One registered model.

    Attributes:
        name: What the user types after ``--model=``.
        path: ``module:Class``.
        origin: ``own``; ``own, for RecBole's`` (ours, under a name of RecBole's); ``recbole``;
            ``recbole, mended`` (RecBole's, made to run on today's libraries, or to resume).
        citation: Authors, title, venue.
        aliases: Other spellings that are accepted.
    """

    name: str
    path: str
    origin: str
    citation: str
    aliases: tuple[str, ...] = ()

    @property
    def recbole_settings(self) -> str:
        """The name of RecBole's YAML file with the model's defaults; empty for a class of ours."""
        return self.name.removeprefix(RECBOLE) if self.origin.startswith("recbole") else ""

    def load(self) -> type:
        """Imports and returns the class."""
        module, attribute = self.path.split(":")
        return getattr(importlib.import_module(module), attribute)


_OWN: dict[str, ModelEntry] = {}


def add(entry: ModelEntry) -> ModelEntry:
    """Registers a model.

    Raises:
        ValueError: If the name or an alias is taken, by ours or by one of RecBole's; a model that
            mends or replaces RecBole's own says so in its origin and may carry its name.
    """
    taken = {spelling.lower() for known in _OWN.values() for spelling in _spellings(known)}
    if entry.origin == "own":
        taken |= {name.lower() for name in recbole_models()}
    for spelling in _spellings(entry):
        if spelling.lower() in taken:
            raise ValueError(f"model name {spelling!r} is already registered")
    _OWN[entry.name] = entry
    return entry


def find(name: str) -> ModelEntry:
    """Looks a model up by name or alias: ours first, then RecBole's.

    Raises:
        ValueError: If there is none; the message names the nearest known ones.
    """
    everything = entries()
    for entry in everything:
        if name in _spellings(entry):
            return entry
    known = [spelling for entry in everything for spelling in _spellings(entry)]
    by_lower = {spelling.lower(): spelling for spelling in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(by_lower[n] for n in near)}?" if near else ""
    raise ValueError(f"unknown model {name!r}{hint} (`models` lists all {len(everything)})")


def entries() -> list[ModelEntry]:
    """Returns every runnable model, ours first, then RecBole's; no name occurs twice."""
    owner = {spelling: entry for entry in _OWN.values() for spelling in _spellings(entry)}
    theirs = []
    for name, entry in recbole_models().items():
        if name not in owner:
            theirs.append(entry)
        elif owner[name].origin == REPLACES and RECBOLE + name not in owner:
            theirs.append(replace(entry, name=RECBOLE + name))
    return [*_OWN.values(), *theirs]


def replaced(entry: ModelEntry) -> str | None:
    """Returns the name that RecBole's class runs under where ours took its own; None elsewhere."""
    if entry.origin != REPLACES:
        return None
    return RECBOLE + next(name for name in _spellings(entry) if name in recbole_models())


def _spellings(entry: ModelEntry) -> tuple[str, ...]:
    return (entry.name, *entry.aliases)


@lru_cache(maxsize=1)
def recbole_models() -> dict[str, ModelEntry]:
    """Reads RecBole's model files (without importing them) by its rule: file name = class name."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        return {}
    models = {}
    for file in sorted((Path(spec.origin).parent / "model").glob("*_recommender/*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == file.stem:
                path = f"recbole.model.{file.parent.name}.{file.stem}:{node.name}"
                citation = _reference(ast.get_docstring(tree) or "")
                models[node.name] = ModelEntry(node.name, path, "recbole", citation)
    return models


def _reference(docstring: str) -> str:
    """Returns the line after ``Reference:`` in a RecBole model's docstring."""
    lines = [line.strip() for line in docstring.splitlines()]
    for i, line in enumerate(lines[:-1]):
        if line.lower().startswith("reference") and "code" not in line.lower():
            return lines[i + 1].replace("`", "")
    return ""


def register_catalogue() -> None:
    """Registers every model of :mod:`recbole_hill.catalogue`; once, at import."""
    from recbole_hill.catalogue import CATALOGUE

    for name, path, origin, citation, *aliases in CATALOGUE:
        plain = [name.replace("-", "")] if "-" in name else []
        add(ModelEntry(name, path, origin, citation, (*plain, *aliases)))


register_catalogue()
