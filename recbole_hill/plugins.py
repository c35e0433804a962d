"""Models, index learners and pair selectors from outside the package.

A plugin is a Python file, or a module that Python can import. It names classes and functions::

    from recbole_hill import plugins
    from recbole_hill.model.bases.factorization import MatrixFactorization

    @plugins.model("MyModel", citation="Ada Lovelace. 1843.")
    class MyModel(MatrixFactorization): ...

    @plugins.index_learner("by_popularity")
    class ByPopularity(IndexLearner): ...

    @plugins.pair_selector("latest", settings={"latest_items": 3})
    def latest(history, search, index, settings) -> Pairs: ...

The commands import a plugin by ``--plugin=FILE``, a program by :func:`load`. The plugins of an
installed package need neither: its entry points of the group ``recbole_hill.plugins`` name them.

The default settings of a name stand in ``NAME.yaml`` beside the module, or in ``settings``. The key
``extends`` holds a name of the same kind, whose settings come first. A model's search space stands
in ``NAME.tuning.yaml`` beside the module.

A run's folder records the plugins that the run used, and no command imports a plugin because a
folder records it.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from recbole_hill import registry
from recbole_hill.host.compatibility import without_anomaly_detection
from recbole_hill.registry import PLUGIN, Entry, ModelEntry, Plugin, Registry

T = TypeVar("T")

#: What a class has that derives from ``IndexLearner``.
_OF_LEARNERS = ("from_settings", "learn", "usage", "by_gradient")
#: Before the name of a module that is a file.
_PREFIX = "recbole_hill_plugin_"
#: The modules that :func:`load` imported, by file or dotted name.
_loaded: dict[str, ModuleType] = {}


def model(
    name: str,
    *,
    citation: str = "",
    aliases: Collection[str] = (),
    settings: Mapping | None = None,
    trainer: type | str = "",
) -> Callable[[T], T]:
    """Registers a class of RecBole's kind as a model, and so as a backbone.

    Args:
        name: The name, for ``--model`` and ``--backbone``.
        citation: Authors, title, venue.
        aliases: Other spellings that are accepted.
        settings: Default settings in place of ``NAME.yaml``.
        trainer: The trainer, or its ``module:Class``; empty: the trainer of the nearest registered
            base, or else the trainer that RecBole chooses.

    Returns:
        A decorator, which raises a ValueError if the name is taken.
    """

    def register(target: T) -> T:
        _require(isinstance(target, type), f"model {name!r} must be a class, got {target!r}")
        about = _about(name, target, settings)
        spellings = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        registry.add(ModelEntry(name, target, PLUGIN, citation, spellings, trainer, **about))
        return target

    return register


def index_learner(name: str, *, settings: Mapping | None = None) -> Callable[[T], T]:
    """Registers a class that derives from :class:`recbole_hill.index.learners.IndexLearner`.

    Args:
        name: The name, for ``--index_learning``.
        settings: Default settings in place of ``NAME.yaml``.

    Returns:
        A decorator, which raises a ValueError if the name is taken.
    """

    def register(target: T) -> T:
        _require(
            isinstance(target, type) and all(hasattr(target, part) for part in _OF_LEARNERS),
            f"index learner {name!r} must derive from recbole_hill.index.learners.IndexLearner, "
            f"got {target!r}",
        )
        return _add(registry.LEARNERS, name, target, settings)

    return register


def pair_selector(name: str, *, settings: Mapping | None = None) -> Callable[[T], T]:
    """Registers a function ``(history, search, index, settings) -> Pairs``.

    Args:
        name: The name, for ``--pair_selector``.
        settings: Default settings in place of ``NAME.yaml``.

    Returns:
        A decorator, which raises a ValueError if the name is taken.
    """

    def register(target: T) -> T:
        _require(callable(target), f"pair selector {name!r} must be a function, got {target!r}")
        return _add(registry.SELECTORS, name, target, settings)

    return register


def load(source: str | Path) -> ModuleType:
    """Imports a plugin, once.

    Args:
        source: A Python file, or the dotted name of a module.

    Returns:
        The module. A file's module has a name that depends on the file's path alone, the same in
        every process.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the import fails; names the plugin, the line and the reason.
        ValueError: If it registers nothing.
    """
    file = Path(source) if str(source).endswith(".py") else None
    if file is not None and not file.is_file():
        raise FileNotFoundError(f"plugin {source} does not exist")
    key = str(source) if file is None else str(file.resolve())
    if key not in _loaded:
        before = _added()
        try:
            with without_anomaly_detection():
                module = importlib.import_module(key) if file is None else _import(Path(key))
        except Exception as error:
            raise ImportError(f"plugin {source}{_place(error, key)}: {_reason(error)}") from error
        name = module.__name__
        if not any(
            entry not in before or f"{entry.path.partition(':')[0]}.".startswith(f"{name}.")
            for entry in _added()
        ):
            raise ValueError(
                f"plugin {source} registers nothing; accepted is a file or a module with "
                "@plugins.model, @plugins.index_learner or @plugins.pair_selector"
            )
        _loaded[key] = module
    return _loaded[key]


def place_of(error: BaseException) -> str:
    """Returns the innermost line of a loaded plugin that an error comes from; "" if there is none.

    Args:
        error: An error that was raised and caught.

    Returns:
        Text such as ``plugin my_model.py, line 12``.
    """
    files = {module.__file__ for module in _loaded.values() if module.__file__}
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename in files]
    return f"plugin {own[-1].filename}, line {own[-1].lineno}" if own else ""


def _added() -> list[Entry]:
    """Returns the entries of all plugins."""
    return [
        entry
        for known in registry.BY_SETTING.values()
        for entry in known.entries()
        if entry.plugin is not None
    ]


def loaded() -> tuple[str, ...]:
    """Returns the plugins that :func:`load` imported, for another process to load: files absolute.

    A plugin that Python imported in another way is not among them.
    """
    return tuple(_loaded)


def record(settings: Mapping) -> dict[str, str]:
    """Returns the plugins that settings name an entry of: each one's SHA-256 by its name.

    Args:
        settings: The settings of a run; unknown names are left out.
    """
    used = {}
    for key, known in registry.BY_SETTING.items():
        if name := settings.get(key):
            for entry in known.entries():
                if entry.plugin is not None and name in entry.spellings:
                    used[entry.plugin.name] = entry.plugin.sha256
    return used


def _add(known: Registry, name: str, target: T, settings: Mapping | None) -> T:
    known.add(Entry(name, target, PLUGIN, **_about(name, target, settings)))
    return target


def _about(name: str, target: Any, settings: Mapping | None) -> dict:
    """Returns the fields of an entry that say where a plugin's object comes from.

    Raises:
        ValueError: If the name or the settings are none.
    """
    valid = isinstance(name, str) and re.fullmatch(r"\w[\w.+-]*", name)
    _require(
        valid and not name.startswith(registry.RECBOLE),
        f"a name must be of letters, digits and . _ + -, and no {registry.RECBOLE}NAME; "
        f"got {name!r}",
    )
    _require(
        settings is None or isinstance(settings, Mapping),
        f"settings of {name} must be a mapping, got {settings!r}",
    )
    module = target.__module__
    path = getattr(sys.modules.get(module), "__file__", None)
    file = Path(path) if path else None  # a notebook has none
    is_file = file is not None and (module == "__main__" or module.startswith(_PREFIX))
    plugin = Plugin(
        name=file.name if is_file else module,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest() if file else "",
        folder=file.parent if file else Path.cwd(),
    )
    return {"settings": None if settings is None else dict(settings), "plugin": plugin}


def _import(file: Path) -> ModuleType:
    """Imports a file under a name that depends on its path alone."""
    digits = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    name = _PREFIX + re.sub(r"\W", "_", file.stem) + "_" + digits
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _place(error: Exception, file: str) -> str:
    """Returns the line of a file that an error comes from, as ``, line 3``; nothing if none."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _reason(error: Exception) -> str:
    """Returns an error in one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = (text.strip().splitlines() or [""])[0]
    if isinstance(error, ModuleNotFoundError):
        return f"{first} (Python looks in PYTHONPATH and among the installed packages)"
    return f"{type(error).__name__}: {first}"


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
