"""The choices of a ``holdout`` run for a ``refit`` run: epochs, learning rates, weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.config.config import LOGGERS, HillConfig, plain_settings
from recbole_hill.data.auto import IN_EPOCHS
from recbole_hill.run.folder import CHOICE, HOLDOUT, STAGES
from recbole_hill.run.parent_runs import PARENT_SETTINGS, for_each
from recbole_hill.run.stages import seconds_of_stages


@dataclass(frozen=True)
class Choice:
    """The choices that a ``refit`` run takes over.

    Attributes:
        epochs: Number of epochs of the backbone.
        learning_rates: Learning rate of each of these epochs; empty if it is the same for all.
            Under ``plateau`` the rule goes back to the best weights; the epochs that this undoes
            are left out.
        adapt_epochs: Number of epochs of HILL's fine-tuning, by arm (a compared variant of the
            run).
        kept: Which weights HILL keeps: ``adapted``, ``unadapted`` or ``backbone``.
        seconds: Seconds that the choosing run took.
        best_epoch: Epoch of its backbone's best validation, from 1.
        epochs_trained: Number of epochs that its backbone was trained for.
    """

    epochs: int
    learning_rates: tuple[float, ...]
    adapt_epochs: Mapping[str, int]
    kept: str
    seconds: float
    best_epoch: int
    epochs_trained: int

    @classmethod
    def of(cls, stages: Mapping[str, dict]) -> "Choice":
        """Reads the choices from the stages of a ``holdout`` run."""
        rates = stages["backbone"].get("learning_rates", ())
        adapt = "adapt_"
        return cls(
            epochs=len(rates) or stages["backbone"]["epochs"],
            learning_rates=tuple(rates),
            adapt_epochs={
                stage.removeprefix(adapt): entry["epochs"]
                for stage, entry in stages.items()
                if stage.startswith(adapt)
            },
            kept=stages.get(CHOICE, {}).get("kept", "unadapted"),
            seconds=seconds_of_stages(stages),
            best_epoch=stages["backbone"]["epochs"],
            epochs_trained=stages["backbone"].get("epochs_trained", 0),
        )


def holdout_config(config, folder: Path) -> HillConfig:
    """Returns the configuration of the holdout run that makes the choices for a ``refit`` run.

    If the refit run starts from other refit runs, the holdout run starts from their holdout runs,
    because the refit runs have already seen the validation set of the holdout run.

    Args:
        config: Configuration of the ``refit`` run.
        folder: Folder of the ``refit`` run; it will contain the folder of the holdout run.

    Raises:
        ValueError: If the run starts from a run that has no holdout run. The message names both.
    """
    settings = plain_settings(config)
    for key in PARENT_SETTINGS:
        if settings.get(key):
            settings[key] = for_each(settings[key], lambda start, key=key: _chooser(key, start))
    for key in IN_EPOCHS:  # a default may shrink with the size of the data, a given value may not
        if key not in config.external_config_dict:
            del settings[key]
    settings |= {key: config[key] for key in LOGGERS}
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
