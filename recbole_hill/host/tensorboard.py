"""RecBole's TensorBoard log, kept out of the working folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from recbole.trainer import trainer


@contextmanager
def no_tensorboard_in_working_folder() -> Iterator[None]:
    """Keeps RecBole's Trainer from opening a TensorBoard log while the block makes one.

    Without it RecBole writes ``log_tensorboard/`` into the working folder. The names there go by
    the second, so that two runs that start together share a folder, and one removes it.
    """
    opened, trainer.get_tensorboard = trainer.get_tensorboard, lambda logger: None
    try:
        yield
    finally:
        trainer.get_tensorboard = opened
