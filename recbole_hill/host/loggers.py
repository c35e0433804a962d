"""Keeps RecBole's own loggers out of a run, which has loggers of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from recbole.trainer import trainer


class _Silent:
    """A logger in the place of RecBole's for Weights & Biases; it sends nothing."""

    def __init__(self, config):
        """Takes RecBole's configuration, as RecBole's logger does."""

    def log_metrics(self, *args, **kwargs) -> None:
        """Sends nothing."""

    def log_eval_metrics(self, *args, **kwargs) -> None:
        """Sends nothing."""


@contextmanager
def without_recboles_loggers() -> Iterator[None]:
    """Prevents RecBole's Trainer from opening loggers while the block creates a trainer.

    Without it, RecBole writes TensorBoard's ``log_tensorboard/`` into the working folder. The
    folder names there contain the time in seconds. Two runs that start in the same second share a
    folder, and one of them removes it. To Weights & Biases RecBole sends validation scores as test
    scores; :mod:`recbole_hill.run.tracking` sends both under their names.
    """
    opened = trainer.get_tensorboard, trainer.WandbLogger
    trainer.get_tensorboard, trainer.WandbLogger = (lambda logger: None), _Silent
    try:
        yield
    finally:
        trainer.get_tensorboard, trainer.WandbLogger = opened
