"""Models with their data and trainers: ours, and RecBole's as RecBole runs them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice

import scipy.sparse as sp
import torch
from epoch import step_seconds
from recbole.model.general_recommender.lightgcn import LightGCN as RecBoleLightGCN
from recbole.utils import get_trainer

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import Data, load_data
from recbole_hill.host.loggers import without_recboles_loggers
from recbole_hill.model.build import build_model
from recbole_hill.train.trainer import trainer_for
from rows.row import Setting

#: RecBole's default: one negative a positive, drawn by its own sampler in the loader.
RECBOLE_NEGATIVES = {
    "distribution": "uniform",
    "sample_num": 1,
    "alpha": 1.0,
    "dynamic": False,
    "candidate_num": 0,
}


@dataclass
class Job:
    """A model that is ready to train.

    Attributes:
        config: Its settings.
        data: Its loaders.
        model: The model.
        trainer: Ours, or RecBole's own.
    """

    config: HillConfig
    data: Data
    model: torch.nn.Module
    trainer: object

    def __post_init__(self):
        self._batches = self._forever()

    def _forever(self) -> Iterator:
        while True:
            yield from self.data.train

    def steps(self, n: int) -> None:
        """Takes n training steps of the epoch, the loader's part of them included."""
        for batch in islice(self._batches, n):
            step_seconds(self.trainer, batch)

    def batch(self):
        """Returns the loader's next batch."""
        return next(self._batches)


def ours(setting: Setting, model: str, **overrides) -> Job:
    """Returns a model of ours with our trainer."""
    config = config_of(setting, model, **overrides)
    data = load_data(config)
    network = build_model(config, data).train()
    return Job(config, data, network, trainer_for(config, network))


def recboles(setting: Setting, model: str, kind: type | None = None, **overrides) -> Job:
    """Returns a model of RecBole's with RecBole's trainer.

    Args:
        setting: Where the data are.
        model: Its registered name.
        kind: The class, where the name is ours.
        overrides: Settings.
    """
    config = config_of(setting, model, **overrides)
    if kind is not None:
        config.model_class = kind
    data = load_data(config)
    with restored_scipy():
        network = build_model(config, data).train()
    with without_recboles_loggers():
        trainer = get_trainer(config["MODEL_TYPE"], network.__class__.__name__)(config, network)
    return Job(config, data, network, trainer)


@cache
def recboles_lightgcn(setting: Setting) -> Job:
    """Returns RecBole's own LightGCN, its matrix and its negatives as RecBole makes them."""
    negatives = {"train_neg_sample_args": RECBOLE_NEGATIVES, "train_batch_size": 2048}
    return recboles(setting, "LightGCN", RecBoleLightGCN, **negatives)


@cache
def recboles_bpr(setting: Setting) -> Job:
    """Returns RecBole's own BPR."""
    return recboles(setting, "recbole.BPR", train_batch_size=2048)


@cache
def bpr(setting: Setting) -> Job:
    """Returns our BPR with what RecBole's does: one negative, no L2 term, no bound."""
    same = {
        "n_negatives": 1,
        "reject_positives": True,
        "positive_order": "interaction",
        "reg_weight": 0.0,
        "clip_grad_norm": None,
        "init_std": 0.1,
        "train_batch_size": 2048,
    }
    return ours(setting, "BPR", **same)


@cache
def nescl(setting: Setting) -> Job:
    """Returns NESCL past its warm-up."""
    job = ours(setting, "NESCL", train_batch_size=4096)
    job.model.begin_epoch(job.config["epochs"])
    return job


@contextmanager
def restored_scipy():
    """Gives back ``dok_matrix._update``, which RecBole calls and SciPy 1.13 removed."""
    if hasattr(sp.dok_matrix, "_update"):
        yield
        return
    sp.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)
    try:
        yield
    finally:
        del sp.dok_matrix._update


def config_of(setting: Setting, model: str, **overrides) -> HillConfig:
    """Returns the settings of a model on the data, on the CPU and quiet."""
    warnings.filterwarnings("ignore")
    fixed = {
        "data_path": setting.data_path,
        "run_dir": str(setting.folder),
        "checkpoint_dir": str(setting.folder),
        "state": "ERROR",
        "protocol": "published",
        "device": "cpu",
    }
    return HillConfig(model, setting.dataset, None, {**fixed, **overrides})
