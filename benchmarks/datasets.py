"""A prepared dataset under a model's settings, for a benchmark that keeps no run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import Data, load_data


@contextmanager
def loaded(model: str, dataset: str, **settings) -> Iterator[tuple[HillConfig, Data]]:
    """Yields the settings and the data of a run whose folder is gone afterwards.

    Args:
        model: A registered name.
        dataset: A prepared dataset, or one that RecBole knows.
        settings: As on the command line; those that are None are left out.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        config = HillConfig(model, dataset, None, {**given, "run_dir": folder, "state": "ERROR"})
        yield config, load_data(config)
