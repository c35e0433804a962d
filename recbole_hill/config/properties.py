"""The YAML files of `properties/`, `tuning/` and plugins: where they are, and how they merge."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from recbole_hill.config.dialect import load_settings
from recbole_hill.registry import (
    BY_SETTING,
    LEARNERS,
    MODELS,
    SELECTORS,
    Entry,
    Registry,
    UnknownName,
)

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

#: The block of ``per_dataset`` for every dataset that it does not name.
OTHERWISE = "otherwise"
#: The block of a model's settings that count where its backbone learns from labels.
LABELLED = "labelled"


def properties(*parts: str) -> Traversable:
    """Returns a file or folder under ``properties/``, e.g. ``properties("dataset", "x.yaml")``.

    The file itself need not exist; ask ``is_file()``.

    Raises:
        FileNotFoundError: If the folder is neither in the package nor beside it.
    """
    return _shipped("properties", parts)


def tuning(*parts: str) -> Traversable:
    """Returns a file or folder under ``tuning/``; see `properties`."""
    return _shipped("tuning", parts)


def _shipped(folder: str, parts: tuple[str, ...]) -> Traversable:
    # A wheel holds the folder inside the package; a checkout, editable or not, has it one level up.
    inside = files("recbole_hill").joinpath(folder)
    beside = Path(__file__).resolve().parents[2] / folder
    found = inside if inside.is_dir() else beside
    if not found.is_dir():
        raise FileNotFoundError(
            f"the folder {folder}/ of recbole_hill is neither in {inside} nor in {beside}: "
            "reinstall recbole-hill"
        )
    for part in parts:
        found = found.joinpath(part)
    return found


def internal_defaults(
    model: str,
    dataset: str,
    backbone: str | None = None,
    index_learning: str | None = None,
    pair_selector: str | None = None,
    preset: str | None = None,
) -> dict:
    """Merges the YAML files for a model on a dataset.

    Args:
        model: A registered name.
        dataset: Dataset name.
        backbone: A name in place of the model's default backbone, if the model has one.
        index_learning: A name in place of the model's default learner, if the model has one.
        pair_selector: A name in place of the model's default selector, if the model has one.
        preset: Name of a set of settings in the ``presets`` of the model's file or its backbone's,
            which wins over the other blocks. What it has in common for all models stands in
            ``preset/NAME.yaml``.

    Returns:
        Settings; a model with a backbone, a learner or a selector has the settings of each too.

    Raises:
        UnknownName: If a name is not registered.
        ValueError: If the backbone has a backbone, or no file has the preset.
    """
    layers = _layers(MODELS, model)
    own = _on_dataset(layers, dataset)
    presets = _presets(layers)
    merged = {**read_properties("overall.yaml"), **read_properties("dataset", f"{dataset}.yaml")}
    theirs = {}
    if "backbone" in own:
        name = MODELS.find(backbone or own["backbone"]).name
        theirs = _on_dataset(_layers(MODELS, name), dataset)
        if "backbone" in theirs:
            raise ValueError(f"backbone must be a model without a backbone of its own, got {name}")
        own = _on_dataset(layers, dataset, of_labels=bool(theirs.get("reads_features")))
        own["backbone"] = name
        presets = _presets(_layers(MODELS, name)) | presets
    context = any(entry.path.startswith("recbole.model.context_aware") for entry, _ in layers)
    if context or own.get("reads_features") or theirs.get("reads_features"):
        merged.update(read_properties("context.yaml"))
        merged.update(read_properties("features", f"{dataset}.yaml"))
    if context and merged.get("tasks"):
        # RecBole's models know one label, and would take others for features.
        merged["tasks"] = dict([next(iter(merged["tasks"].items()))])
    merged.update(theirs)
    merged.update(own)
    if preset is not None:
        if preset not in presets:
            known = ", ".join(presets) or "none"
            raise ValueError(f"preset {preset!r} is not one of {model}'s; accepted are {known}")
        merged.update(read_properties("preset", f"{preset}.yaml"))
        merged.update(presets[preset])
    for known, name in ((LEARNERS, index_learning), (SELECTORS, pair_selector)):
        if known.key in own:
            merged.update(_on_dataset(_layers(known, name or own[known.key]), dataset))
    return merged


def owners(model: str, backbone: str | None = None) -> dict[str, str]:
    """Returns the settings that our YAML files of a model and its backbone have, with whose file.

    Args:
        model: A registered name.
        backbone: Name of the model's backbone, if it has one.
    """
    layers = [layer for name in (backbone, model) if name for layer in _layers(MODELS, name)]
    ours = [entry.name for entry, _ in layers if entry.plugin is None]
    return {key: name for name in ours for key in _own_keys(name)}


@cache
def _own_keys(model: str) -> tuple[str, ...]:
    return tuple(read_properties("model", f"{model}.yaml"))


def chosen_parts(settings: Mapping) -> dict:
    """Returns the names that settings hold in place of a model's default parts.

    Args:
        settings: Settings by key.

    Returns:
        Keyword arguments of :func:`internal_defaults`.
    """
    return {key: settings.get(key) for key in (*BY_SETTING, "preset") if key != "model"}


def _layers(known: Registry, name: str) -> list[tuple[Entry, dict]]:
    """Returns an entry with its settings, after the entries that it extends, the farthest first.

    Raises:
        ValueError: If an entry extends itself, or a name that is not registered.
    """
    layers, entry = [], known.find(name)
    while entry not in (seen for seen, _ in layers):
        settings = _settings_of(known, entry)
        base = settings.pop("extends", None)
        layers.insert(0, (entry, settings))
        if base is None:
            return layers
        try:
            entry = known.find(base)
        except UnknownName as error:
            raise ValueError(f"{entry.name} extends {base!r}: {error}") from error
    raise ValueError(f"{name} extends itself, by way of {layers[0][0].name}")


def _settings_of(known: Registry, entry: Entry) -> dict:
    """Returns an entry's own settings, ``per_dataset`` and ``extends`` among them."""
    if entry.settings is not None:
        return dict(entry.settings)
    if entry.plugin is not None:
        return _read_mapping(entry.plugin.folder / f"{entry.name}.yaml")
    own = read_properties(known.key, f"{entry.name}.yaml")
    return {**recbole_defaults("model", f"{getattr(entry, 'recbole_settings', '')}.yaml"), **own}


def _on_dataset(layers: list[tuple[Entry, dict]], dataset: str, *, of_labels: bool = False) -> dict:
    """Merges layers on a dataset; later ones win, over the ``per_dataset`` of earlier ones too.

    Of a layer's ``per_dataset``, the dataset's own block counts, or else the block ``otherwise``.
    The block ``labelled`` counts ``of_labels`` alone.
    """
    merged = {}
    for _, settings in layers:
        merged.update(settings)
        merged.pop("presets", None)
        if (block := merged.pop(LABELLED, None)) and of_labels:
            merged.update(block)
        blocks = merged.pop("per_dataset", None) or {}
        merged.update(blocks.get(dataset, blocks.get(OTHERWISE)) or {})
    return merged


def _presets(layers: list[tuple[Entry, dict]]) -> dict[str, dict]:
    """Returns the named sets of settings of layers, by name; later layers win."""
    return {
        name: settings
        for _, layer in layers
        for name, settings in (layer.get("presets") or {}).items()
    }


def _read_mapping(file: Path) -> dict:
    """Reads a plugin's YAML file.

    Raises:
        ValueError: If the file is not YAML, or holds no mapping; names the file.
    """
    try:
        settings = read_yaml(file)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file} must hold settings, key: value, got {settings!r}")
    return settings


def read_properties(*parts: str) -> dict:
    """Reads one of our YAML files under ``properties/``; an absent one is empty."""
    return shipped_settings(properties(*parts))


def recbole_defaults(*parts: str) -> dict:
    """Reads one of RecBole's own YAML files; an absent one is empty."""
    return shipped_settings(files("recbole").joinpath("properties", *parts))


def shipped_settings(file: Traversable) -> dict:
    """Reads a YAML file of a package, which does not change: each process reads it once."""
    return copy.deepcopy(_shipped_once(file))


@cache
def _shipped_once(file: Traversable) -> dict:
    return read_yaml(file)


def read_yaml(file) -> dict:
    """Reads a YAML file in RecBole's dialect; an absent one is empty."""
    if not file.is_file():
        return {}
    return load_settings(file.read_text(encoding="utf-8")) or {}
