"""Warnings at the end of a run: what its validations, pairs and floor say of its settings."""

from collections.abc import Mapping
from importlib.util import find_spec

from recbole_hill.host.optional import named
from recbole_hill.run.folder import HOLDOUT

#: Share of the validations that is their beginning, and their end.
_PART = 0.1
#: Validations without a better one before a best one is called early.
_FALLEN = 3


def run_warnings(row: Mapping, floor: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns what a run's outcome warns of, each with what to try.

    Args:
        row: Row of the arm that the run serves.
        floor: Metrics of the floor's methods; empty without a floor.

    Returns:
        One line per warning.
    """
    stages, settings = row["stages"], row["settings"]
    return [
        *_of_validations(stages, settings),
        *_of_pairs(stages.get("pairs", {}).get("per_depth", {}), settings),
        *_of_floor(row, floor),
    ]


def _of_validations(stages: Mapping[str, Mapping], settings: Mapping) -> list[str]:
    """Returns what the backbone's validations warn of; for a refit run, those of its holdout."""
    stage = stages.get(HOLDOUT, stages["backbone"])
    best, trained = stage["epochs"], stage.get("epochs_trained", 0)  # taken over: not trained here
    number, count = best // settings["eval_step"], trained // settings["eval_step"]
    if count < 2:
        return []
    if (best <= 2 or number <= _PART * count) and count - number >= _FALLEN:
        return [
            f"validation was best after epoch {best} of {trained} and worse since: try a smaller "
            f"learning_rate than {settings['learning_rate']}, or a stopping_step above "
            f"{settings['stopping_step']} if the model falls for a while before it rises"
        ]
    if trained >= settings["epochs"] and count - number < max(1, _PART * count):
        return [
            f"training ended at epochs={settings['epochs']} while validation still got better: try "
            f"--epochs={2 * settings['epochs']}"
        ]
    return []


def _of_pairs(per_depth: Mapping[int | str, int], settings: Mapping) -> list[str]:
    """Returns the depths without <user, node> pairs; the selector's settings may leave all out."""
    empty = [str(depth) for depth, count in per_depth.items() if not count]
    if not empty:
        return []
    change = f"try lower interest_thresholds than {settings['interest_thresholds']}"
    if settings["min_children"] > 1:
        change += f", or a smaller min_children than {settings['min_children']}"
    if len(empty) == len(per_depth):
        return [
            f"there are no <user, node> pairs: HILL is its backbone {settings['backbone']}, not "
            f"adapted; {change}"
        ]
    return [f"there are no <user, node> pairs at depth {', '.join(empty)}: {change}"]


def _of_floor(row: Mapping, floor: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not floor or row["model"] in floor:
        return []
    metric = row["settings"]["valid_metric"].lower()
    best = max(floor, key=lambda name: floor[name][metric])
    reached, least = row["metrics"][metric], floor[best][metric]
    if reached >= least:
        return []
    return [
        f"{row['arm']} is below the floor: test {metric} {reached:.4f}, {best} {least:.4f}; "
        f"try --tune=30m{_with_ray()}, or another model"
    ]


def _with_ray() -> str:
    """Returns, for a message, what ``--tune`` needs and this environment lacks."""
    return "" if find_spec("ray") else f" (with {named('tune')})"
