"""The seconds of a run's stages, as ``stages.json`` and every row hold them."""

from collections.abc import Mapping

#: The mark of an ``index`` stage whose seconds are its own; stages of older runs do not have it.
OWN_SECONDS = "own_seconds"


def own_seconds(stages: Mapping[str, Mapping]) -> dict[str, float]:
    """Returns the seconds of each stage, so that their sum counts every second once.

    In older runs the seconds of ``index`` contain those of the M-steps (``em_0``, ``em_1``, ...)
    and of ``index_learning``, although these are stages too.

    Args:
        stages: Each stage by its name, with its ``seconds``.
    """
    seconds = {name: stage.get("seconds", 0.0) for name, stage in stages.items()}
    if "index" not in stages or stages["index"].get(OWN_SECONDS):
        return seconds
    within = sum(
        taken
        for name, taken in seconds.items()
        if name.startswith("em_") or name == "index_learning"
    )
    # A run that was resumed after `index_learning` has the seconds of `index` alone there.
    if within <= seconds["index"]:
        seconds["index"] -= within
    return seconds


def seconds_of_stages(stages: Mapping[str, Mapping], *, with_starts: bool = False) -> float:
    """Returns how long a run's stages took together, each second counted once.

    Args:
        stages: Each stage by its name, with its ``seconds``.
        with_starts: Whether to add ``trained_seconds``: the training of the runs that this run
            started from.
    """
    seconds = own_seconds(stages)
    if with_starts:
        for name, stage in stages.items():
            seconds[name] += stage.get("trained_seconds", 0.0)
    return sum(seconds.values())
