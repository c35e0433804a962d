"""The finished runs that a run starts from: which models they are of, and what they took."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from recbole_hill.run.folder import HOLDOUT, STAGES, read_config

#: Settings that name the folder of a finished run, or a list of folders.
STARTS = ("backbone_from", "fuse_from", "pretrained_from", "distill_from")


def as_list(one_or_more: str | list[str]) -> list[str]:
    """Returns a name alone as a list of it."""
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def for_each(one_or_more: str | list[str], do: Callable[[str], str]) -> str | list[str]:
    """Returns what ``do`` makes of a name alone, or of each name of a list."""
    return do(one_or_more) if isinstance(one_or_more, str) else [do(each) for each in one_or_more]


def folders_of(settings: Mapping) -> dict[str, list[Path]]:
    """Returns the folders that each setting of :data:`STARTS` names, where it names any."""
    found = {}
    for key in STARTS:
        if folders := [Path(each) for each in as_list(settings.get(key) or [])]:
            found[key] = folders
    return found


def seconds_of(folder: Path) -> float:
    """Returns what training a finished run's model took, the runs it started from included.

    Under ``refit`` also what choosing took.
    """
    stages = json.loads((folder / STAGES).read_text())
    backbone, chosen = stages["backbone"], stages.get(HOLDOUT, {})
    return backbone["seconds"] + backbone.get("trained_seconds", 0.0) + chosen.get("seconds", 0.0)


def seconds_before(settings: Mapping) -> float:
    """Returns what the runs that a run starts from took."""
    return sum(seconds_of(folder) for each in folders_of(settings).values() for folder in each)


def facts_of(settings: Mapping) -> dict:
    """Returns what a run's ``backbone`` stage records of the runs it started from.

    Returns:
        ``trained_seconds``, what they took, and ``started_from``, their models by setting; nothing
        where there are none.
    """
    models = {
        key: [read_config(folder)["model"] for folder in folders]
        for key, folders in folders_of(settings).items()
    }
    if not models:
        return {}
    return {"trained_seconds": seconds_before(settings), "started_from": models}
