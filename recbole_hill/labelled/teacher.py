"""Soft labels of a stronger model, the teacher, on unlabelled pairs (HSNN, Eq. 2)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.data.tasks import Task
from recbole_hill.model.finished import FinishedRun
from recbole_hill.run.checkpoint import random_numbers_kept


@dataclass(frozen=True)
class Teacher:
    """The model of a finished run, which labels drawn <user, item> pairs.

    The student weighs the soft labels by its own task weights. The teacher's task weights are not
    used.

    Attributes:
        model: Tuple of the one model, so that PyTorch does not count it among the student's
            weights.
        pairs: Number of unlabelled pairs per labelled one.
        weight: Weight of the distillation loss.
    """

    model: tuple
    pairs: float
    weight: float

    @classmethod
    def from_config(cls, config, tasks: tuple, dataset) -> "Teacher | None":
        """Loads the run that ``distill_from`` names.

        Args:
            config: Configuration of the student's run.
            tasks: Tasks of the student.
            dataset: RecBole's train dataset of the student.

        Returns:
            The teacher; None if ``distill_from`` is empty or ``distill_pairs`` is 0.

        Raises:
            ValueError: If the run saw other data (it may have learnt the student's test set), if
                its model has other tasks, users or items.
        """
        folder = config["distill_from"]
        if not folder:
            return None
        if not config["distill_pairs"]:
            return None
        require_same_data(Path(folder), known_data(Path(config["run_dir"])))
        with random_numbers_kept():  # the student's random numbers do not change
            teacher = FinishedRun.load(folder)
        predicted = getattr(teacher.model, "tasks", ())
        if _labels(predicted) != _labels(tasks):
            raise ValueError(
                f"distill_from={folder}: its model {teacher.config['model']} does not predict the "
                f"tasks {', '.join(task.name for task in tasks)} as they are set here"
            )
        teacher_ids, student_ids = Ids.of(teacher.data.dataset), Ids.of(dataset)
        if not (
            np.array_equal(teacher_ids.users, student_ids.users)
            and np.array_equal(teacher_ids.items, student_ids.items)
        ):
            raise ValueError(f"distill_from={folder}: its users or items are not those here")
        return cls((teacher.model,), config["distill_pairs"], config["distill_weight"])

    @torch.no_grad()
    def draw(self, n_labelled: int, n_users: int, n_items: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws users and items uniformly, and labels the pairs.

        Args:
            n_labelled: Number of labelled pairs in the batch.
            n_users: Number of user ids, padding included.
            n_items: Number of item ids, padding included.

        Returns:
            User ids (B,), item ids (B,) and soft labels (B, T).
        """
        (model,) = self.model
        size = max(1, round(self.pairs * n_labelled))
        users = torch.randint(1, n_users, (size,))
        items = torch.randint(1, n_items, (size,))
        batch = {model.USER_ID: users, model.ITEM_ID: items}
        return users, items, model.probabilities(batch)


def _labels(tasks: tuple[Task, ...]) -> list[Task]:
    """Returns the tasks with equal weights, so that only the predicted labels are compared."""
    return [replace(task, weight=1.0) for task in tasks]
