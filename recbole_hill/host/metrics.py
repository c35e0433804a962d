"""Metrics that RecBole lacks, put among its own."""

import numpy as np
from recbole.evaluator import register
from recbole.evaluator.base_metric import LossMetric

from recbole_hill.checks import one_of

BASE_RATES = ("evaluated", "train")
#: Under what a data struct holds the mean label of the training rows.
TRAIN_RATE = "data.train_rate"


class NE(LossMetric):
    """Normalised entropy: mean log-loss over the entropy of the base rate (He et al., ADKDD 2014).

    1 is what always predicting the base rate gives; lower is better.

    Settings: ``ne_base_rate``, whose mean label is the base rate: that of the ``evaluated`` rows
    (RecBole's own entry points know no other), or that of ``train``, as HSNN has it.
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
    """Mean prediction over mean label: 1 if a model neither over- nor under-predicts."""

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
    """Returns the mean log-loss over that of always predicting the base rate.

    Args:
        probabilities: Shape (N,).
        labels: 0 or 1, shape (N,).
        base_rate: The mean label if None.

    Returns:
        NaN if all labels are one, and nothing is to be predicted.
    """
    if base_rate is None:
        base_rate = float(np.mean(labels, dtype=np.float64))
    if not 0 < base_rate < 1:
        return float("nan")
    constant = np.full(len(labels), base_rate)
    return log_loss(probabilities, labels) / log_loss(constant, labels)


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean log-loss; a probability of 0 or 1 counts as float32 can tell it from one."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-7, 1 - 1e-7)
    labels = np.asarray(labels, dtype=np.float64)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def register_metrics() -> None:
    """Puts our metrics where RecBole looks them up."""
    for metric in (NE, Calibration):
        name = metric.__name__.lower()
        register.metrics_dict[name] = metric
        register.metric_information[name] = metric.metric_need
        register.metric_types[name] = metric.metric_type
        if name not in register.smaller_metrics:
            register.smaller_metrics.append(name)
