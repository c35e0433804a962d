"""The data of a benchmark: a prepared dataset under a model's settings, or a finished run's."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import Data, load_data
from recbole_hill.model.build import build_model
from recbole_hill.run.folder import read_config
from recbole_hill.train.trainer import RunTrainer, trainer_for


@contextmanager
def loaded(model: str, dataset: str, **settings) -> Iterator[tuple[HillConfig, Data]]:
    """Yields the settings and the data of a run; the run's folder is deleted afterwards.

    Args:
        model: Name of a registered model.
        dataset: Name of a prepared dataset, or of one that RecBole knows.
        settings: Settings as on the command line; settings of None are left out.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        config = HillConfig(model, dataset, None, {**given, "run_dir": folder, "state": "ERROR"})
        yield config, load_data(config)


def finished(folder: Path) -> tuple[RunTrainer, Data]:
    """Returns the trainer of a finished run with its arms, and the run's data.

    Args:
        folder: Folder of a run under ``holdout``.

    Raises:
        ValueError: If the run has no validation set.
    """
    config = HillConfig(None, None, None, {**read_config(folder), "run_dir": str(folder)})
    if config["protocol"] != "holdout":
        raise ValueError(f"{folder} must be a run under holdout, got {config['protocol']}")
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    trainer.fit(data.train, data.valid)  # the run is finished, so this loads its stages
    return trainer, data
