"""One trial of a sweep: a run under ``holdout`` that trains, and never reads the test set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.pipeline import train
from recbole_hill.run import folder as runs
from recbole_hill.run.jsonl import short_id
from recbole_hill.train.trainer import Validation

#: What a trial reports to the search, and nothing beside: epochs trained, the best validation score
#: so far, seconds of all stages, and whether it is at its end.
Report = Callable[[dict], None]


@dataclass(frozen=True)
class Trials:
    """What the trials of a sweep have in common.

    Attributes:
        model: A registered model.
        dataset: Dataset name.
        folder: The sweep's own, absolute.
        config_files: YAML files below the settings.
        overrides: Settings that are not searched.
    """

    model: str
    dataset: str
    folder: Path
    config_files: list[str] = field(default_factory=list)
    overrides: dict = field(default_factory=dict)

    def config(self, settings: dict) -> HillConfig:
        """Returns a trial's whole configuration."""
        run_dir = {"run_dir": str(self.run_dir(settings))}
        given = {**self.overrides, **settings, **run_dir}
        return HillConfig(self.model, self.dataset, self.config_files, given)

    def run_dir(self, settings: dict) -> Path:
        """Returns a trial's folder, which goes by its settings alone."""
        return self.folder / "trials" / trial_id(settings)


def trial_id(settings: dict) -> str:
    """Returns a name of the searched settings: the same whenever and wherever they are tried."""
    return short_id(settings)


def run_trial(trials: Trials, settings: dict, report: Report) -> None:
    """Trains with the settings, or goes on where a killed trial was.

    Args:
        trials: What all trials share.
        settings: The searched ones.
        report: Called after every validation of the backbone, and at the end with the score of the
            weights that the run keeps (for HILL: of its final choice).
    """
    config = trials.config(settings)
    folder = trials.run_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    runs.start_log(folder, config["state"])
    runs.write_config(folder, plain_settings(config))

    epochs = 0

    def on_validation(validation: Validation) -> None:
        nonlocal epochs
        epochs = validation.epochs
        report(
            {
                "epochs": epochs,
                "score": validation.best,
                "seconds": round(validation.seconds, 2),
                "finished": False,
            }
        )

    _, _, trainer = train(config, use_validation=True, seal_test=True, on_validation=on_validation)
    stages = trainer.stages
    report(
        {
            "epochs": epochs or stages["backbone"]["epochs"],
            "score": stages.get("HILL", stages["backbone"])["valid_score"],
            "seconds": round(sum(facts["seconds"] for facts in stages.values()), 2),
            "finished": True,
        }
    )


def remove_weights(folder: Path) -> None:
    """Removes what only the best trial needs: weights and the state to resume from."""
    for pattern in ("*.safetensors", "*.pt"):
        for file in folder.glob(pattern):
            file.unlink()
