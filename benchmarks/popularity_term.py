"""Arms of test-time training with a popularity term, whose weight validation chooses.

Training on pairs can change how popular the items of the lists are, and that alone can gain. Here
every arm of a finished run may choose how popular its lists are: its scores become

    score(u, i) + w * sd(u) * z(i).

sd(u) is the standard deviation of the user's scores. z(i) is ln(1 + train users of the item), less
its mean and divided by its standard deviation. w is the weight in ``WEIGHTS`` with the best
validation value. ``tuned_arms.py --popularity`` makes its table from these scores.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import finished
from torch import Tensor

from recbole_hill.data.splits import Data
from recbole_hill.evaluation.per_user import user_table
from recbole_hill.host.per_user import keep_per_user
from recbole_hill.model.fusion import deviations
from recbole_hill.train.arms import Arm
from recbole_hill.train.evaluate import log_degrees

WEIGHTS = (-0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6)


@dataclass(frozen=True)
class Corrected:
    """An arm with its popularity term.

    Attributes:
        weight: w.
        valid_score: The validation value with this weight.
        metrics: The test metrics.
        users: Every test user's metrics, indexed by user.
        popularity: Mean ln(1 + train users) of the items in the test lists.
    """

    weight: float
    valid_score: float
    metrics: dict[str, float]
    users: pd.DataFrame
    popularity: float


def corrected_arms(folder: Path, names: set[str]) -> dict[str, Corrected]:
    """Returns arms of a finished run, each with the popularity term that validation chooses.

    Args:
        folder: Folder of the run, of protocol ``holdout``.
        names: Names of the arms.

    Raises:
        ValueError: If the run has no validation set.
    """
    trainer, data = finished(folder)
    degrees = log_degrees(data)
    deviation = np.where(np.arange(len(degrees)) > 0, degrees - degrees[1:].mean(), 0)
    term = torch.from_numpy(deviation / degrees[1:].std()).float().unsqueeze(1)
    return {
        arm.name: _corrected(trainer, arm, data, degrees, term)
        for arm in trainer.arms
        if arm.name in names
    }


def _corrected(trainer, arm: Arm, data: Data, degrees: np.ndarray, term: Tensor) -> Corrected:
    """Returns an arm with the term that validation chooses.

    Args:
        trainer: Trainer of the finished run.
        arm: One of its arms.
        data: The run's data.
        degrees: ln(1 + train users) of each item, shape (I + 1,).
        term: z of each item, shape (I + 1, 1).
    """
    trainer.take(arm)
    users, items = (part.detach() for part in arm.vectors or trainer.model.vectors())
    scale = torch.from_numpy(deviations(users.numpy(), items.numpy())).float().unsqueeze(1)

    def set_weight(weight: float) -> None:
        vectors = torch.cat((users, weight * scale), 1), torch.cat((items, term), 1)
        trainer.arm = replace(arm, vectors=vectors, retriever=None)

    valid = {}
    for weight in WEIGHTS:
        set_weight(weight)
        valid[weight] = trainer.valid_score(data.valid)
    best = max(valid, key=valid.get)
    set_weight(best)
    with (
        keep_per_user(trainer.ranking_evaluator) as values,
        trainer.eval_collector.keep_lists() as lists,
    ):
        metrics = trainer.test(data)
    table = user_table(arm.name, data.dataset, trainer.ranked_users(data), values)
    listed = np.concatenate(lists)
    popularity = float(degrees[listed[listed > 0]].mean())
    return Corrected(best, valid[best], metrics, table.set_index("user"), popularity)
