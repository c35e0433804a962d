"""Models by name or by class."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_hill import plugins, registry

if TYPE_CHECKING:
    import pandas as pd


def models() -> "pd.DataFrame":
    """Returns every model that runs: ``model``, ``origin``, ``traits`` and ``citation``.

    The traits say whether it can be HILL's backbone, and what it needs.
    """
    import pandas as pd

    rows = [
        (entry.name, entry.origin, ", ".join(registry.traits(entry)), entry.citation)
        for entry in registry.entries()
    ]
    return pd.DataFrame(rows, columns=["model", "origin", "traits", "citation"])


def name_of(model: str | type) -> str:
    """Returns the registered name of a model; registers a class of the user's own.

    A class without a name gets its own name, as by :func:`recbole_hill.plugins.model`, and the
    settings of its nearest registered base. A class that is made again replaces its older self.

    Args:
        model: A name, or a class that derives from one of RecBole's or ours.

    Raises:
        ValueError: If there is no such name (the message names the nearest), if it is no class of
            this kind, or if another model has the class's name.
    """
    if isinstance(model, str):
        return registry.find(model).name
    if not isinstance(model, type):
        raise ValueError(f"model must be a name or a class, got {model!r}")
    from recbole.model.abstract_recommender import AbstractRecommender

    if not issubclass(model, AbstractRecommender):
        raise ValueError(f"model class {model.__name__} must derive from a model of RecBole's kind")
    names = {entry.path: entry.name for entry in registry.entries()}
    own, *bases = (f"{kind.__module__}:{kind.__qualname__}" for kind in model.__mro__)
    if own in names and registry.find(names[own]).load() is model:
        return names[own]
    base = next((names[path] for path in bases if path in names), None)
    inherits = base is not None and not _has_settings(model)
    plugins.model(model.__name__, settings={"extends": base} if inherits else None)(model)
    return model.__name__


def require_importable(model: str, asked: str, accepted: str) -> None:
    """Refuses a model that other processes cannot import, for what is done in other processes.

    Args:
        model: A registered name.
        asked: The argument that needs the processes, with its value.
        accepted: What is accepted for a class of this program.

    Raises:
        ValueError: If the model is a class of this program alone.
    """
    known = {plugin for source in plugins.loaded() for plugin in (source, Path(source).name)}
    plugin = registry.find(model).plugin
    if plugin is not None and plugin.name not in known:
        raise ValueError(
            f"{asked} needs {model} in a plugin that other processes can load "
            "(recbole_hill.plugins.load(FILE)), and it is a class of this program; accepted is "
            f"{accepted}"
        )


def _has_settings(model: type) -> bool:
    """Returns whether a file beside the class's module gives its settings."""
    file = getattr(sys.modules.get(model.__module__), "__file__", None)
    return (Path(file).parent if file else Path()).joinpath(f"{model.__name__}.yaml").is_file()
