"""Keeps RecBole's TensorBoard log out of the working folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from recbole.trainer import trainer


@contextmanager
def no_tensorboard_in_working_folder() -> Iterator[None]:
    """Prevents RecBole's Trainer from opening a TensorBoard log while the block creates a trainer.

    Without it, RecBole writes ``log_tensorboard/`` into the working folder. The folder names there
    contain the time in seconds. Two runs that start in the same second share a folder, and one of
    them removes it.
    """
    opened, trainer.get_tensorboard = trainer.get_tensorboard, lambda logger: None
    try:
        yield
    finally:
        trainer.get_tensorboard = opened
