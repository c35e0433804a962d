"""A prepared dataset under a model's settings, for benchmarks that keep no run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import Data, load_data


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
