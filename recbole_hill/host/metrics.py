"""Metrics that RecBole lacks, added to RecBole's metrics."""

from collections.abc import Sequence

import numpy as np
from recbole.evaluator import register
from recbole.evaluator.base_metric import LossMetric

from recbole_hill.checks import one_of

BASE_RATES = ("evaluated", "train")
#: Key of the mean label of the training rows in RecBole's data struct.
TRAIN_RATE = "data.train_rate"


class NE(LossMetric):
    """Normalised entropy: mean log-loss over the entropy of the base rate (He et al., ADKDD 2014).

    Always predicting the base rate gives 1; lower is better.

    Settings: ``ne_base_rate``, which names the rows whose mean label is the base rate:
    ``evaluated``, the evaluated rows (the only choice under RecBole's own entry points), or
    ``train``, as in HSNN.
    """

    smaller = True

    def __init__(self, config):
        super().__init__(config)
        self.base_rate = one_of("ne_base_rate", config["ne_base_rate"] or "evaluated", BASE_RATES)

    def calculate_metric(self, dataobject) -> dict[str, float]:
        """Returns ``{"ne": value}``."""
        scores, labels = self.used_info(dataobject)
        rate = None
        if self.base_rate == "train":
            if TRAIN_RATE not in dataobject:
                raise ValueError("ne_base_rate train is for models of tasks; accepted is evaluated")
            rate = dataobject.get(TRAIN_RATE)
        return {"ne": round(normalised_entropy(scores, labels, rate), self.decimal_place)}


class Calibration(LossMetric):
    """Mean prediction over mean label; above 1 a model over-predicts, below 1 it under-predicts."""

    smaller = True

    def calculate_metric(self, dataobject) -> dict[str, float]:
        """Returns ``{"calibration": value}``; NaN without a positive label."""
        scores, labels = self.used_info(dataobject)
        positives = float(np.sum(labels, dtype=np.float64))
        ratio = float(np.sum(scores, dtype=np.float64)) / positives if positives else float("nan")
        return {"calibration": round(ratio, self.decimal_place)}


def normalised_entropy(
    probabilities: np.ndarray, labels: np.ndarray, base_rate: float | None = None
) -> float:
    """Returns the mean log-loss divided by the log-loss of always predicting the base rate.

    Args:
        probabilities: Shape (N,).
        labels: 0 or 1, shape (N,).
        base_rate: The base rate; the mean label if None.

    Returns:
        The ratio; NaN if all labels are the same, so that the divisor is 0.
    """
    if base_rate is None:
        base_rate = float(np.mean(labels, dtype=np.float64))
    if not 0 < base_rate < 1:
        return float("nan")
    constant = np.full(len(labels), base_rate)
    return log_loss(probabilities, labels) / log_loss(constant, labels)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean log-loss; probabilities are clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-7, 1 - 1e-7)
    labels = np.asarray(labels, dtype=np.float64)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def register_metrics() -> None:
    """Adds our metrics to RecBole's register."""
    for metric in (NE, Calibration):
        name = metric.__name__.lower()
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type
        if name not in register.smaller_metrics:
            register.smaller_metrics.append(name)


def require_metrics(names: str | Sequence[str]) -> None:
    """Refuses metrics that are unknown, or that cannot be measured together.

    Args:
        names: The setting ``metrics``: a name or several.

    Raises:
        ValueError: Names the metric, and what is accepted.
    """
    names = [names] if isinstance(names, str) else names
    kinds = {name: register.metric_types.get(name.lower()) for name in names}
    for name, kind in kinds.items():
        if kind is None:
            accepted = sorted(one.__name__ for one in register.metrics_dict.values())
            raise ValueError(f"metrics must be among {', '.join(accepted)}, got {name!r}")
    if len(set(kinds.values())) > 1:
        raise ValueError(
            "metrics must be all of lists (Recall ...) or all of predictions (AUC ...), got "
            f"{', '.join(names)}"
        )


def measured_names(names: Sequence[str], topk: Sequence[int]) -> list[str]:
    """Returns what metrics are called in a row: ``NDCG@20`` for one of lists, ``AUC`` for others.

    Args:
        names: The setting ``metrics``.
        topk: Lengths of the lists.
    """
    measured = []
    for name in names:
        of_lists = {"rec.topk", "rec.items"} & set(register.metric_information[name.lower()])
        measured += [f"{name}@{k}" for k in topk] if of_lists else [name]
    return measured
