"""What ``holdout`` chose for a ``refit``: how long a stage trains, how fast, and what is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.run.folder import HOLDOUT, STAGES
from recbole_hill.run.parent_runs import STARTS, for_each


@dataclass(frozen=True)
class Choice:
    """What a ``refit`` run takes over.

    Attributes:
        epochs: Of the backbone.
        learning_rates: Of each of these epochs; empty if it is the same for all. Epochs that a
            plateau made undone (the rule goes back to the best weights) are not among them.
        adapt_epochs: Of HILL's fine-tuning, by arm.
        keeps_adapted: Whether HILL keeps the adapted weights.
        seconds: What choosing took.
    """

    epochs: int
    learning_rates: tuple[float, ...]
    adapt_epochs: Mapping[str, int]
    keeps_adapted: bool
    seconds: float

    @classmethod
    def of(cls, stages: Mapping[str, dict]) -> "Choice":
        """Reads what the stages of a ``holdout`` run say."""
        rates = stages["backbone"].get("learning_rates", ())
        adapt = "adapt_"
        return cls(
            epochs=len(rates) or stages["backbone"]["epochs"],
            learning_rates=tuple(rates),
            adapt_epochs={
                stage.removeprefix(adapt): facts["epochs"]
                for stage, facts in stages.items()
                if stage.startswith(adapt)
            },
            keeps_adapted=stages.get("HILL", {}).get("kept") == "adapted",
            seconds=sum(facts["seconds"] for facts in stages.values()),
        )


def holdout_config(config, folder: Path) -> HillConfig:
    """Returns the settings of the run that chooses for a ``refit`` run.

    What the run starts from was refitted, too, and saw what this one validates on: the chooser
    starts from the runs that chose for those.

    Args:
        config: Of the ``refit`` run.
        folder: Its folder; the chooser's is in it.

    Raises:
        ValueError: If it starts from a run that no other chose for, naming both.
    """
    settings = plain_settings(config)
    for key in STARTS:
        if settings.get(key):
            settings[key] = for_each(settings[key], lambda start, key=key: _chooser(key, start))
    settings |= {"protocol": "holdout", "run_dir": str(folder / HOLDOUT)}
    return HillConfig(config["model"], config["dataset"], None, settings)


def _chooser(key: str, folder: str) -> str:
    chooser = Path(folder) / HOLDOUT
    if not (chooser / STAGES).is_file():
        raise ValueError(
            f"{key}: {folder} is no run of --protocol=refit, so that it has no {HOLDOUT}/ that a "
            "refit could be chosen by"
        )
    return str(chooser)
