"""Labels of impressions: the columns that a model predicts, and features that give labels away."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_hill.checks import is_number

#: A column whose area under the ROC curve is at least this is the label itself.
_LEAK_AUC = 0.999
#: The same for a column of the interaction file, which may be a noisy record of the label.
_LEAK_AUC_INTERACTION = 0.99
#: In the interaction file, a value with at least so many rows, and such a share of the rows, must
#: not go with one label alone, unless the probability of this by chance is larger than the last.
_PURE_ROWS, _PURE_SHARE, _PURE_CHANCE = 50, 0.01, 1e-6
_TASK_KEYS = {"field", "at_least", "weight"}


@dataclass(frozen=True)
class Task:
    """One label of a row.

    Attributes:
        name: Name of the label column. The metrics of all tasks but the first end in it.
        field: Column of the interaction file that the label is made from.
        at_least: The least value of ``field`` that counts as 1.
        weight: Weight w_t of the task in the loss (HSNN, Eq. 1).
    """

    name: str
    field: str
    at_least: float
    weight: float

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Returns 0/1 labels of the column's values, float32."""
        return (values >= self.at_least).astype(np.float32)


def tasks_of(config) -> tuple[Task, ...]:
    """Reads the setting ``tasks``, in its order; empty if it is not set.

    Args:
        config: RecBole's Config.

    Raises:
        ValueError: If the setting is not a mapping of names to ``{field, at_least, weight}``.
    """
    given = config["tasks"]
    if not given:
        return ()
    if not isinstance(given, Mapping):
        raise ValueError(f"tasks must map names to {{field, at_least, weight}}, got {given!r}")
    tasks = []
    for name, entry in given.items():
        entry = {"field": name, "at_least": 1.0, "weight": 1.0, **(entry or {})}
        if unknown := set(entry) - _TASK_KEYS:
            raise ValueError(
                f"task {name}: unknown key {min(unknown)!r}; accepted are {sorted(_TASK_KEYS)}"
            )
        for key in ("at_least", "weight"):
            if not is_number(entry[key]):
                raise ValueError(f"task {name}: {key} must be a number, got {entry[key]!r}")
        if not entry["weight"] >= 0:
            raise ValueError(f"task {name}: weight must not be negative, got {entry['weight']}")
        tasks.append(Task(name, **entry))
    if not any(task.weight for task in tasks):
        raise ValueError("tasks: every weight is 0, nothing would be learnt; one must be above 0")
    return tuple(tasks)


def require_complete(interactions, tasks: tuple[Task, ...]) -> None:
    """Refuses interactions that lack a value that a label is made from, before RecBole fills it.

    Args:
        interactions: The interaction file as a data frame.
        tasks: The labels.

    Raises:
        ValueError: Names the column, the number of rows that lack it, and the first of these rows.
    """
    for task in tasks:
        missing = interactions[task.field].isna().to_numpy()
        if missing.any():
            row = int(missing.argmax())
            raise ValueError(
                f"task {task.name}: {task.field} is missing in {missing.sum()} of {len(missing)} "
                f"interactions, first in row {row + 1} of those read; drop these rows"
            )


def require_floats(dataset, tasks: tuple[Task, ...]) -> None:
    """Refuses a label column that RecBole has read as tokens: it holds ids instead of numbers.

    Args:
        dataset: RecBole's dataset.
        tasks: The labels.

    Raises:
        ValueError: Names the task, the column and its type.
    """
    for task in tasks:
        kind = dataset.field2type[task.field]
        if kind != FeatureType.FLOAT:
            raise ValueError(
                f"task {task.name}: {task.field} is of type {kind.value} in "
                f"{dataset.dataset_name}.inter; accepted is float"
            )


def require_two_classes(labels: Tensor, tasks: tuple[Task, ...], part: str = "training") -> None:
    """Refuses a task whose rows all have the same label.

    Args:
        labels: Shape (N, T).
        tasks: The T tasks.
        part: Name of the rows' part in the message.

    Raises:
        ValueError: Names the task, its column and the label.
    """
    for task, rate in zip(tasks, labels.double().mean(0).tolist(), strict=True):
        if rate in (0.0, 1.0):
            raise ValueError(
                f"task {task.name} ({task.field} >= {task.at_least:g}): all {len(labels)} {part} "
                f"rows are {rate:.0f}; both labels must occur"
            )


def require_no_leak(
    dataset, features: list[str], tasks: tuple[Task, ...], trusted: Collection[str] = ()
) -> None:
    """Refuses a feature whose value alone predicts a label on the training rows.

    Such a feature was made from the label or after it. A number is refused if it orders the rows by
    their label. A column is refused if each of its values (or bags of values) goes with one label.
    For columns of the interaction file two further signs are enough: near-perfect prediction, and
    one frequent value that goes with one label where chance does not explain it.

    Args:
        dataset: RecBole's train dataset.
        features: Columns of the interaction, user and item files to check.
        tasks: The labels.
        trusted: Columns that are not checked.

    Raises:
        ValueError: Names the column and the task, or a trusted column that is not a feature.
    """
    if unknown := set(trusted) - set(features):
        raise ValueError(
            f"trusted_columns must be among the features {', '.join(features)}, got "
            f"{min(unknown)!r}"
        )
    rows = dataset[torch.arange(len(dataset))]
    for field in features:
        if field in trusted or dataset.field2type[field] == FeatureType.FLOAT_SEQ:
            continue
        values = rows[field].numpy()
        of_impression = dataset.field2source[field] == FeatureSource.INTERACTION
        for task in tasks:
            labels = rows[task.name].numpy()
            if leak := _gives_away(values, labels, dataset.field2type[field], of_impression):
                raise ValueError(
                    f"feature {field!r} gives the label of task {task.name} away: {leak}. Leave "
                    f"it out (unload_col), make it a task, or, if it is known before the label, "
                    f"name it in trusted_columns"
                )


def _gives_away(
    values: np.ndarray, labels: np.ndarray, kind: FeatureType, of_impression: bool
) -> str | None:
    """Returns the reason why a column gives the labels away, or None if it does not."""
    n_rows = len(values)
    if kind == FeatureType.FLOAT:
        area = _area_under_curve(values, labels)
        if max(area, 1 - area) >= (_LEAK_AUC_INTERACTION if of_impression else _LEAK_AUC):
            return f"alone it orders the {n_rows} training rows (area under the curve {area:.4f})"
    if values.ndim == 2:  # bags: the same values in any order
        values = np.sort(values, axis=1)
    _, value, counts = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    rates = np.bincount(value.ravel(), weights=labels) / counts
    # A value of few rows may go with one label by chance.
    often = counts >= 10
    pure = (rates == 0) | (rates == 1)
    if counts[often & pure].sum() >= _LEAK_AUC * n_rows:
        return f"alone it tells the {n_rows} training rows apart"
    base_rate = labels.mean(dtype=np.float64)
    log_chance = counts * np.log(np.where(rates == 1, base_rate, 1 - base_rate))
    frequent = (counts >= _PURE_ROWS) & (counts >= _PURE_SHARE * n_rows)
    telling = np.flatnonzero(frequent & pure & (log_chance < np.log(_PURE_CHANCE)))
    if of_impression and len(telling):
        one = telling[counts[telling].argmax()]
        return (
            f"all {counts[one]} training rows of one of its values are {rates[one]:.0f}, and of "
            f"all rows {base_rate:.2%} are 1"
        )
    return None


def _area_under_curve(values: np.ndarray, labels: np.ndarray) -> float:
    """Returns the probability that a row with label 1 has the larger value; ties count half."""
    from scipy.stats import rankdata

    positives = labels.sum()
    ranks = rankdata(values)[labels > 0].sum()
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def label_matrix(rows, tasks: tuple[Task, ...]) -> Tensor:
    """Returns the labels of a RecBole batch, shape (B, T), float32."""
    return torch.stack([rows[task.name].float() for task in tasks], 1)


def feature_names(dataset, tasks: tuple[Task, ...], source: tuple) -> Iterator[str]:
    """Yields a source's columns that may be features: not labels, their columns, or the time."""
    left_out = {task.name for task in tasks} | {task.field for task in tasks}
    left_out |= {dataset.label_field, dataset.time_field}
    yield from (field for field in dataset.fields(source=list(source)) if field not in left_out)
