"""Normalised entropy, by hand and among RecBole's metrics."""

import numpy as np
import pytest
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct

from recbole_hill.config.config import HillConfig
from recbole_hill.host.metrics import TRAIN_RATE, log_loss, normalised_entropy, register_metrics


def test_by_hand():
    labels, p = np.array([1, 0, 0, 1.0]), np.array([0.8, 0.4, 0.1, 0.5])
    loss = -(np.log(0.8) + np.log(0.6) + np.log(0.9) + np.log(0.5)) / 4
    assert log_loss(p, labels) == pytest.approx(loss)
    assert normalised_entropy(p, labels) == pytest.approx(loss / np.log(2))
    base = -(2 * np.log(0.2) + 2 * np.log(0.8)) / 4  # always .2
    assert normalised_entropy(p, labels, 0.2) == pytest.approx(loss / base)


def test_predicting_the_base_rate_is_one():
    labels = np.array([1, 0, 0, 0, 0.0])
    assert normalised_entropy(np.full(5, 0.2), labels) == pytest.approx(1)
    assert np.isnan(normalised_entropy(np.full(3, 0.2), np.zeros(3)))
    assert np.isfinite(normalised_entropy(np.array([0.0, 1]), np.array([1, 0.0])))


def test_among_recboles_metrics():
    register_metrics()
    settings = {
        "metrics": ["NE", "AUC", "Calibration"],
        "metric_decimal_place": 6,
        "ne_base_rate": "evaluated",
    }
    struct = DataStruct()
    struct.set("rec.score", torch.tensor([0.8, 0.4, 0.1, 0.5]))
    struct.set("data.label", torch.tensor([1.0, 0, 0, 1]))
    found = Evaluator(settings).evaluate(struct)
    expected = normalised_entropy(np.array([0.8, 0.4, 0.1, 0.5]), np.array([1, 0, 0, 1.0]))
    assert found["ne"] == pytest.approx(expected, abs=1e-6) and found["auc"] == 1
    assert found["calibration"] == pytest.approx(1.8 / 2)
    by_train = Evaluator({**settings, "ne_base_rate": "train"})
    with pytest.raises(ValueError, match="ne_base_rate train"):
        by_train.evaluate(struct)
    struct.set(TRAIN_RATE, 0.2)
    assert by_train.evaluate(struct)["ne"] != found["ne"]
    with pytest.raises(ValueError, match="valid_metric 'Calibration' is best at 1"):
        HillConfig("MoNN", "ml-100k", None, {"valid_metric": "Calibration"})
    with pytest.raises(ValueError, match="ne_base_rate must be one of evaluated, train"):
        Evaluator({**settings, "ne_base_rate": "test"})
