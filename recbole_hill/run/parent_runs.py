"""Parent runs: the finished runs that a run starts from, with their models and training times."""

from collections.abc import Callable, Mapping
from pathlib import Path

from recbole_hill.run.folder import HOLDOUT, read_config, read_stages

#: Settings that name the folder of a parent run, or a list of such folders.
PARENT_SETTINGS = ("backbone_from", "fuse_from", "pretrained_from", "distill_from")


def as_list(one_or_more: str | list[str]) -> list[str]:
    """Returns a list unchanged, and a single name as a list of one."""
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def for_each(one_or_more: str | list[str], do: Callable[[str], str]) -> str | list[str]:
    """Returns ``do`` of a single name, or the list of ``do`` of each name."""
    return do(one_or_more) if isinstance(one_or_more, str) else [do(each) for each in one_or_more]


def parent_folders(settings: Mapping) -> dict[str, list[Path]]:
    """Returns the folders that the :data:`PARENT_SETTINGS` name, by setting, without unset ones."""
    folders_by_setting = {}
    for key in PARENT_SETTINGS:
        if folders := [Path(each) for each in as_list(settings.get(key) or [])]:
            folders_by_setting[key] = folders
    return folders_by_setting


def training_seconds(folder: Path) -> float:
    """Returns the seconds of training a finished run's model, including its parent runs.

    Under ``refit``, the seconds of the holdout run that made the choices are included.
    """
    stages = read_stages(folder)
    backbone, chosen = stages["backbone"], stages.get(HOLDOUT, {})
    return backbone["seconds"] + backbone.get("trained_seconds", 0.0) + chosen.get("seconds", 0.0)


def parent_seconds(settings: Mapping) -> float:
    """Returns the total training seconds of the parent runs that the settings name."""
    return sum(
        training_seconds(folder) for each in parent_folders(settings).values() for folder in each
    )


def parent_record(settings: Mapping) -> dict:
    """Returns the entries on the parent runs for a run's ``backbone`` stage.

    Returns:
        ``trained_seconds``, the training seconds of the parent runs, and ``started_from``, their
        models by setting; empty if there are no parent runs.
    """
    models = {
        key: [read_config(folder)["model"] for folder in folders]
        for key, folders in parent_folders(settings).items()
    }
    if not models:
        return {}
    return {"trained_seconds": parent_seconds(settings), "started_from": models}
