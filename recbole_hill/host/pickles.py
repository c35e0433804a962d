"""RecBole's pickled data, which are neither read nor written: unpickling a file runs its code.

RecBole's ``data_preparation`` and ``create_dataset`` unpickle a file of the right name in
``checkpoint_dir`` if one is there, whatever split, protocol or data it was made with.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import recbole.data.utils
from recbole.utils import ModelType

#: RecBole's settings that have it write or read such files.
SETTINGS = ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path")
_CLASSES = {
    ModelType.SEQUENTIAL: "SequentialDataset",
    ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
}


def require_no_pickles(settings) -> None:
    """Refuses settings that ask for pickled data.

    Raises:
        ValueError: Naming the key, the value and what is accepted.
    """
    for key in SETTINGS:
        if settings.get(key):
            raise ValueError(
                f"{key} must be unset, got {settings[key]!r}: RecBole pickles data, and a pickle "
                "runs code when it is read"
            )


def never_load_split_dataloaders(config) -> None:
    """Takes the place of RecBole's ``load_split_dataloaders``: there are none."""


@contextmanager
def no_pickled_loaders() -> Iterator[None]:
    """Keeps RecBole's ``data_preparation`` from unpickling loaders while the block runs."""
    kept = recbole.data.utils.load_split_dataloaders
    recbole.data.utils.load_split_dataloaders = never_load_split_dataloaders
    try:
        yield
    finally:
        recbole.data.utils.load_split_dataloaders = kept


def dataset_class(config) -> type:
    """Returns the class of the dataset that RecBole's ``create_dataset`` would build."""
    module = importlib.import_module("recbole.data.dataset")
    own = getattr(module, f"{config['model']}Dataset", None)
    return own or getattr(module, _CLASSES.get(config["MODEL_TYPE"], "Dataset"))


def create_dataset(config):
    """Builds the dataset that RecBole's function of this name would build, and unpickles none."""
    return dataset_class(config)(config)
