"""Models, index learners and pair selectors by name: where their code is, and what to cite.

One look-up serves configuration, running, loading and sweeps, so that a saved model reloads by the
name that it was run under. The registry imports a model's code only when a caller loads its entry.

RecBole's models run by their names. Where a class of ours takes such a name, ``models`` says so and
RecBole's own runs as ``recbole.NAME``. Plugins add names of their own
(:mod:`recbole_hill.plugins`); plugins of installed packages are imported at the first look-up.
"""

import difflib
import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from recbole_hill.host.compatibility import without_anomaly_detection

#: Before the name of a RecBole class whose plain name is taken by one of ours.
RECBOLE = "recbole."
#: Origin of a class of ours that takes a name of RecBole's.
REPLACES = "own, for RecBole's"
#: Origin of an entry that a plugin adds.
PLUGIN = "plugin"
#: The group of entry points by which an installed package names its plugins.
ENTRY_POINTS = "recbole_hill.plugins"
#: What RecBole's model files are read for: the names of their classes, and the module's docstring.
_CLASS = re.compile(r"^class (\w+)", re.MULTILINE)
_DOCSTRING = re.compile(r'^[rR]?"""(.*?)"""', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Plugin:
    """The module that adds an entry from outside the package.

    Attributes:
        name: The file's name, or the module's dotted name: either can be given as ``--plugin``.
        sha256: Hash of the file when the entry was added; empty for a notebook's entry.
        folder: The folder of the YAML files beside the module.
    """

    name: str
    sha256: str
    folder: Path


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: The name, as a setting holds it.
        target: ``module:attribute``, or the object itself.
        origin: ``own``, ``plugin``, or one of the origins that :class:`ModelEntry` lists.
        settings: Default settings that the plugin's code gives; None: a YAML file may give them.
        plugin: The plugin that adds the entry; None for an entry of ours or of RecBole's.
    """

    name: str
    target: Any
    origin: str = "own"
    settings: dict | None = field(default=None, kw_only=True)
    plugin: Plugin | None = field(default=None, kw_only=True)

    @property
    def path(self) -> str:
        """The target as ``module:attribute``."""
        return self.target if isinstance(self.target, str) else _path_of(self.target)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every text that names the entry."""
        return (self.name,)

    def load(self) -> Any:
        """Imports and returns the target."""
        return _load(self.target)


@dataclass(frozen=True)
class ModelEntry(Entry):
    """One registered model.

    Its origin is ``own``; ``own, for RecBole's`` (ours, under a name of RecBole's); ``recbole``;
    ``recbole, patched`` (RecBole's, made to run on today's libraries, or to resume); or ``plugin``.

    Attributes:
        citation: Authors, title, venue.
        aliases: Other spellings that are accepted.
        trainer: ``module:Class`` of its trainer, or the class; empty: :func:`trainer_of` looks
            further.
    """

    citation: str = ""
    aliases: tuple[str, ...] = ()
    trainer: Any = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """The name and the aliases."""
        return (self.name, *self.aliases)

    @property
    def recbole_settings(self) -> str:
        """The name of RecBole's YAML file with the model's defaults; empty for a class of ours."""
        return self.name.removeprefix(RECBOLE) if self.origin.startswith("recbole") else ""

    def load_trainer(self) -> type | None:
        """Imports and returns the trainer; None where the entry names none."""
        return _load(self.trainer) if self.trainer else None


class UnknownName(ValueError):
    """No entry has the name."""


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """The entries of one kind by name.

    Args:
        key: The setting that holds a name of this kind, such as ``index_learning``.
    """

    def __init__(self, key: str):
        self.key = key
        self._added: dict[str, E] = {}
        self._followers: list[Callable[[E], None]] = []

    def add(self, entry: E) -> E:
        """Adds an entry.

        A plugin's object takes its own name again, so that a notebook's cell may run twice.

        Raises:
            ValueError: If the name or an alias is taken.
        """
        others = [known for known in self._added.values() if not _is_again(known, entry)]
        taken = {spelling.lower() for known in others for spelling in known.spellings}
        taken |= self._reserved(entry)
        for spelling in entry.spellings:
            if spelling.lower() in taken:
                raise ValueError(f"{self.key} name {spelling!r} is already registered")
        self._added[entry.name] = entry
        for tell in self._followers:
            tell(entry)
        return entry

    def find(self, name: str) -> E:
        """Looks an entry up by name or alias.

        Raises:
            UnknownName: If there is none; the message names the nearest known ones.
        """
        everything = self.entries()
        for entry in everything:
            if name in entry.spellings:
                return entry
        known = [spelling for entry in everything for spelling in entry.spellings]
        by_lower = {spelling.lower(): spelling for spelling in known}
        near = difflib.get_close_matches(str(name).lower(), by_lower, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(by_lower[n] for n in near)}?" if near else ""
        raise UnknownName(f"unknown {self.key} {name!r}{hint} ({self._all(everything)})")

    def entries(self) -> list[E]:
        """Returns every entry; no name occurs twice."""
        _import_installed()
        return list(self._added.values())

    def follow(self, tell: Callable[[E], None]) -> None:
        """Calls a function with every entry, and with every entry that is added later."""
        for entry in self.entries():
            tell(entry)
        self._followers.append(tell)

    def _reserved(self, entry: E) -> set[str]:
        """Returns names, in lower case, that the entry may not have though no other has them."""
        return set()

    def _all(self, everything: list[E]) -> str:
        return f"accepted are {', '.join(entry.name for entry in everything)}"


class ModelRegistry(Registry[ModelEntry]):
    """Models by name: ours and the plugins', then RecBole's."""

    def entries(self) -> list[ModelEntry]:
        """Returns every runnable model, RecBole's last; no name occurs twice."""
        ours = super().entries()
        owner = {spelling: entry for entry in ours for spelling in entry.spellings}
        theirs = []
        for name, entry in recbole_models().items():
            if name not in owner:
                theirs.append(entry)
            elif owner[name].origin == REPLACES and RECBOLE + name not in owner:
                theirs.append(replace(entry, name=RECBOLE + name))
        return [*ours, *theirs]

    def trainer_of(self, model_class: type) -> type | None:
        """Returns the trainer of a class: its own entry's, or else its nearest base's.

        So a plugin's subclass of HILL has HILL's trainer without naming it. None: RecBole chooses.
        """
        from recbole_hill import catalogue

        named = {entry.path: entry.trainer for entry in self._added.values() if entry.trainer}
        named |= dict(pair for kinds in catalogue.OVER.values() for pair in kinds.values())
        for each in model_class.__mro__:
            if trainer := named.get(_path_of(each)):
                return _load(trainer)
        return None

    def class_over(self, name: str, backbone: str | None) -> type:
        """Imports and returns a model's class; over some backbones another class takes its place.

        Args:
            name: Name or alias of the model.
            backbone: Name or alias of its backbone; None for a model without one.
        """
        from recbole_hill import catalogue

        entry = self.find(name)
        kinds = catalogue.OVER.get(entry.name, {})
        bases = self.find(backbone).load().__mro__ if backbone and kinds else ()
        for each in bases:
            if found := kinds.get(_path_of(each)):
                return _load(found[0])
        return entry.load()

    def _reserved(self, entry: ModelEntry) -> set[str]:
        # A model that mends or replaces RecBole's own says so in its origin and may have its name.
        if entry.origin not in ("own", PLUGIN):
            return set()
        return {name.lower() for name in recbole_models()}

    def _all(self, everything: list[ModelEntry]) -> str:
        return f"`models` lists all {len(everything)}"


def replaced(entry: ModelEntry) -> str | None:
    """Returns the name that RecBole's class runs under where ours took its own; None elsewhere."""
    if entry.origin != REPLACES:
        return None
    return RECBOLE + next(name for name in entry.spellings if name in recbole_models())


def traits(entry: ModelEntry) -> list[str]:
    """Returns what a model is and needs, in words; nothing is imported but a plugin's class.

    ``backbone``: it gives item vectors, so that HILL can index them. ``no training``: it
    is computed, and not trained. ``needs ...``: what its data must hold beside users and items.
    """
    from recbole_hill import catalogue

    if entry.plugin is not None:
        kinds = [_path_of(kind) for kind in entry.load().__mro__]
        bases = [known for known in MODELS.entries() if known.path in kinds and not known.plugin]
        gives = hasattr(entry.load(), "user_item_embeddings")
        return traits(bases[0]) if bases else ["backbone"] * gives
    found = ["backbone"] * (entry.name in catalogue.BACKBONES)
    found += ["no training"] * (entry.name in catalogue.UNTRAINED)
    needs = {what for folder, what in catalogue.NEEDS.items() if entry.path.startswith(folder)}
    return found + [f"needs {what}" for what in needs]


@lru_cache(maxsize=1)
def recbole_models() -> dict[str, ModelEntry]:
    """Reads RecBole's model files by its rule, file name = class name.

    They are neither imported nor parsed, because every command waits for this.
    """
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        return {}
    models = {}
    for file in sorted((Path(spec.origin).parent / "model").glob("*_recommender/*.py")):
        code = file.read_text(encoding="utf-8")
        for name in _CLASS.findall(code):
            if name.lower() == file.stem:
                path = f"recbole.model.{file.parent.name}.{file.stem}:{name}"
                models[name] = ModelEntry(name, path, "recbole", _reference(code))
    return models


def _reference(code: str) -> str:
    """Returns the line after ``Reference:`` in the docstring of a RecBole model's module."""
    docstring = _DOCSTRING.search(code)
    lines = [line.strip() for line in docstring[1].splitlines()] if docstring else []
    for i, line in enumerate(lines[:-1]):
        if line.lower().startswith("reference") and "code" not in line.lower():
            return lines[i + 1].replace("`", "")
    return ""


def _path_of(target: Any) -> str:
    return f"{target.__module__}:{target.__qualname__}"


def _load(target: Any) -> Any:
    """Returns a target, importing it where ``module:attribute`` names it."""
    if not isinstance(target, str):
        return target
    module, attribute = target.split(":")
    with without_anomaly_detection():
        return getattr(importlib.import_module(module), attribute)


def _is_again(known: Entry, entry: Entry) -> bool:
    """Returns whether an entry is a plugin's known one, made anew."""
    was, now = ((one.origin, one.name, one.path) for one in (known, entry))
    return was == now and entry.origin == PLUGIN


#: Groups of entry points that no look-up has imported yet.
_not_imported = [ENTRY_POINTS]


def _import_installed() -> None:
    """Imports the plugins of installed packages, once; one that fails costs a warning, no more."""
    while _not_imported:  # emptied first: a plugin may look names up while Python imports it
        for point in entry_points(group=_not_imported.pop()):
            try:
                point.load()
            except Exception as error:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                warnings.warn(
                    f"the installed plugin {point.name} ({point.value}) cannot be imported: "
                    f"{reason}",
                    stacklevel=2,
                )


def _register_catalogue() -> None:
    """Adds every entry of :mod:`recbole_hill.catalogue`; once, at import."""
    from recbole_hill import catalogue

    for name, path, origin, citation, *aliases in catalogue.CATALOGUE:
        plain = [name.replace("-", "")] if "-" in name else []
        trainer = catalogue.TRAINERS.get(name, "")
        MODELS.add(ModelEntry(name, path, origin, citation, (*plain, *aliases), trainer))
    for name, path in catalogue.LEARNERS.items():
        LEARNERS.add(Entry(name, path))
    for name, path in catalogue.SELECTORS.items():
        SELECTORS.add(Entry(name, path))


MODELS = ModelRegistry("model")
LEARNERS: Registry[Entry] = Registry("index_learning")
SELECTORS: Registry[Entry] = Registry("pair_selector")
#: The settings that hold a registered name.
BY_SETTING = {
    "model": MODELS,
    "backbone": MODELS,
    LEARNERS.key: LEARNERS,
    SELECTORS.key: SELECTORS,
}

find = MODELS.find
entries = MODELS.entries
add = MODELS.add
trainer_of = MODELS.trainer_of
class_over = MODELS.class_over

_register_catalogue()
