"""The YAML files of `properties/` and `tuning/`: where they are, and how they are merged."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from recbole.config import Config

from recbole_hill import registry

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


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


def internal_defaults(model: str, dataset: str, backbone: str | None = None) -> dict:
    """Merges our YAML files for a model on a dataset.

    Args:
        model: A registered name.
        dataset: Dataset name.
        backbone: What the user asked for in place of the model's default backbone, if it has one.

    Returns:
        Settings; a model with a backbone has the backbone's too.
    """
    own = read_properties("model", f"{model}.yaml")
    merged = {**read_properties("overall.yaml"), **read_properties("dataset", f"{dataset}.yaml")}
    theirs = registry.find(model).path.startswith("recbole.model.context_aware")
    if theirs or own.get("reads_features"):
        merged.update(read_properties("context.yaml"))
        merged.update(read_properties("features", f"{dataset}.yaml"))
    if theirs and merged.get("tasks"):
        # RecBole's models know one label, and would take others for features.
        merged["tasks"] = dict([next(iter(merged["tasks"].items()))])
    chain = [model]
    if "backbone" in own:
        chain.insert(0, registry.find(backbone or own["backbone"]).name)
    for name in chain:
        settings = {
            **recbole_defaults("model", f"{registry.find(name).recbole_settings}.yaml"),
            **read_properties("model", f"{name}.yaml"),
        }
        per_dataset = settings.pop("per_dataset", {})
        merged.update({**settings, **per_dataset.get(dataset, {})})
    if "backbone" in own:
        merged["backbone"] = chain[0]
    return merged


def read_properties(*parts: str) -> dict:
    """Reads one of our YAML files under ``properties/``; an absent one is empty."""
    return read_yaml(properties(*parts))


def recbole_defaults(*parts: str) -> dict:
    """Reads one of RecBole's own YAML files; an absent one is empty."""
    return read_yaml(files("recbole").joinpath("properties", *parts))


def read_yaml(file) -> dict:
    """Reads a YAML file in RecBole's dialect; an absent one is empty."""
    if not file.is_file():
        return {}
    return yaml.load(file.read_text(encoding="utf-8"), Loader=yaml_loader()) or {}


def yaml_loader():
    """RecBole's YAML dialect (1e-3 is a number), as its Config builds it."""
    return Config._build_yaml_loader(None)
