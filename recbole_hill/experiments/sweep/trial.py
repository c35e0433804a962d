"""One trial of a sweep: a run under ``holdout`` that trains, and never reads the test set."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recbole_hill import plugins
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.pipeline import build, fit, load
from recbole_hill.run import folder as runs
from recbole_hill.run.files import path_inside
from recbole_hill.run.jsonl import short_id
from recbole_hill.run.ledger import DONE, Ledger
from recbole_hill.run.stages import seconds_of_stages
from recbole_hill.train.trainer import Validation

#: All that a trial reports to the search: epochs trained, the best validation score so far, seconds
#: of all stages, and whether the trial is at its end.
Report = Callable[[dict], None]


@dataclass(frozen=True)
class Trials:
    """What the trials of a sweep have in common.

    Attributes:
        model: A registered model.
        dataset: Dataset name.
        folder: The sweep's folder, as an absolute path.
        config_files: YAML files; the overrides and the searched settings win over them.
        overrides: Settings that are not searched.
        plugins: Plugins to load before names are looked up.
    """

    model: str
    dataset: str
    folder: Path
    config_files: list[str] = field(default_factory=list)
    overrides: dict = field(default_factory=dict)
    plugins: tuple[str, ...] = ()

    def config(self, settings: dict) -> HillConfig:
        """Returns a trial's whole configuration."""
        run_dir = {"run_dir": str(self.run_dir(settings))}
        given = {**self.overrides, **settings, **run_dir}
        return HillConfig(self.model, self.dataset, self.config_files, given)

    def run_dir(self, settings: dict) -> Path:
        """Returns a trial's folder, which depends on the searched settings alone."""
        return path_inside(self.folder, f"trials/{trial_id(settings)}")


def trial_id(settings: dict) -> str:
    """Returns a name of the searched settings, the same in every sweep that tries them."""
    return short_id(settings)


def run_trial(trials: Trials, settings: dict, report: Report) -> None:
    """Trains with the settings, or goes on where a killed trial was.

    Args:
        trials: What all trials share.
        settings: The searched settings.
        report: Called after every validation of the backbone, and at the end with the score of the
            weights that the run keeps (for HILL: the score of its final choice).
    """
    for source in trials.plugins:
        plugins.load(source)
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

    data = load(config).without_test()
    trainer = build(config, data, on_validation=on_validation)
    with trainer.trackers:
        served = fit(trainer, data.train, data.valid)[-1]
    stages = trainer.stages
    report(
        {
            "epochs": epochs or stages["backbone"]["epochs"],
            "score": stages.get(served.name, stages["backbone"])["valid_score"],
            "seconds": round(seconds_of_stages(stages), 2),
            "finished": True,
        }
    )


def best_trial(ledger: Ledger, bigger: bool) -> dict | None:
    """Returns the finished trial of the best validation score; of equal scores, the earliest.

    Args:
        ledger: The ledger of the trials that ended.
        bigger: Whether a bigger score is better.
    """
    done = sorted(ledger.with_status(DONE), key=lambda record: record["trial"])
    best = max if bigger else min
    return best(done, key=lambda record: record["score"], default=None)


def remove_weights(folder: Path) -> None:
    """Removes the files that only the best trial needs: weights, and the state to resume from."""
    for pattern in ("*.safetensors", "*.pt"):
        for file in folder.glob(pattern):
            file.unlink()
