"""Soft labels of a stronger model on pairs that nobody labelled (HSNN, Eq. 2)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import require_at_least
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.data.tasks import Task
from recbole_hill.model.finished import FinishedRun
from recbole_hill.run.checkpoint import random_numbers_kept


@dataclass(frozen=True)
class Teacher:
    """A finished run's model, asked about drawn pairs.

    Its soft labels count by the student's task weights, as labels do; its own are of no matter.

    Attributes:
        model: It; kept out of the student's weights.
        pairs: Unlabelled pairs per labelled one.
        weight: Of the distillation loss.
    """

    model: tuple
    pairs: float
    weight: float

    @classmethod
    def from_config(cls, config, tasks: tuple, dataset) -> "Teacher | None":
        """Loads the run of ``distill_from``; None if there is none, or no pair is to be drawn.

        Raises:
            ValueError: If the run saw other data (it may have learnt what the student is tested
                on), its model has other tasks, users or items, or a number is none or negative.
        """
        folder = config["distill_from"]
        if not folder:
            return None
        keys = ("distill_pairs", "distill_weight")
        require_at_least(config, dict.fromkeys(keys, 0), ())
        if not config["distill_pairs"]:
            return None
        require_same_data(Path(folder), known_data(Path(config["run_dir"])))
        with random_numbers_kept():  # the student's are its own seed's
            teacher = FinishedRun.load(folder)
        predicted = getattr(teacher.model, "tasks", ())
        if _labels(predicted) != _labels(tasks):
            raise ValueError(
                f"distill_from={folder}: its model {teacher.config['model']} does not predict the "
                f"tasks {', '.join(task.name for task in tasks)} as they are set here"
            )
        theirs, ours = Ids.of(teacher.data.dataset), Ids.of(dataset)
        if not (
            np.array_equal(theirs.users, ours.users) and np.array_equal(theirs.items, ours.items)
        ):
            raise ValueError(f"distill_from={folder}: its users or items are not those here")
        return cls((teacher.model,), config["distill_pairs"], config["distill_weight"])

    @torch.no_grad()
    def draw(self, n_labelled: int, n_users: int, n_items: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws users and items uniformly and labels them.

        Returns:
            Users (B,), items (B,) and soft labels (B, T).
        """
        (model,) = self.model
        size = max(1, round(self.pairs * n_labelled))
        users = torch.randint(1, n_users, (size,))
        items = torch.randint(1, n_items, (size,))
        batch = {model.USER_ID: users, model.ITEM_ID: items}
        return users, items, model.probabilities(batch)


def _labels(tasks: tuple[Task, ...]) -> list[Task]:
    """Returns the tasks without their weights: what is predicted."""
    return [replace(task, weight=1.0) for task in tasks]
