"""What ``properties/features/`` says of a dataset, and RecBole's reading of files by it."""

from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import read_properties
from recbole_hill.data.splits import create_dataset


def read_features(name: str) -> dict:
    """Returns ``properties/features/name.yaml``."""
    return read_properties("features", f"{name}.yaml")


def load_features(name: str, dataset: str, **settings):
    """Loads a dataset's files by the columns of a features file, numbers as they are.

    Args:
        name: Of the features file.
        dataset: Of the files, whose own settings come first.
        settings: Further ones, such as ``data_path``.

    Returns:
        RecBole's dataset, not yet split.
    """
    columns = {**read_features(name), "tasks": None}
    settings = {"normalize_all": False, "state": "ERROR", **columns, **settings}
    # A model of impressions: a model of pairs has each pair once.
    return create_dataset(HillConfig("DeepFM", dataset, config_dict=settings))


def columns_of(dataset) -> dict[str, set[str]]:
    """Returns the names of the columns that were read, per file."""
    files = {"inter": dataset.inter_feat, "user": dataset.user_feat, "item": dataset.item_feat}
    return {file: set(columns.columns) for file, columns in files.items()}
