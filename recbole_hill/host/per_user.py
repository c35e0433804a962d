"""The values per user that RecBole's metrics average and throw away."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from recbole.evaluator import Evaluator


@contextmanager
def keep_per_user(evaluator: Evaluator) -> Iterator[dict[str, np.ndarray]]:
    """Keeps the values per user that RecBole's metrics average, while the block evaluates.

    They exist for the metrics that RecBole makes from one value per user and k: Recall, NDCG, MRR,
    MAP, Hit, Precision, AveragePopularity and TailPercentage. Other metrics are not means over
    users and are left out: ItemCoverage, ShannonEntropy, GiniIndex, GAUC (which weighs users by
    their test items), and all metrics of labelled rows.

    Args:
        evaluator: RecBole's evaluator, with any metrics.

    Yields:
        Values under the metrics' names in the result row (``recall@20``). Each is float64, of shape
        (U,), in the order of evaluation, and not rounded. The dict is filled once the block
        evaluates.
    """
    values: dict[str, np.ndarray] = {}
    with ExitStack() as undo:
        for metric in evaluator.metric_class.values():
            if hasattr(metric, "topk_result"):
                metric.topk_result = _noting(metric.topk_result, metric.topk, values)
                undo.callback(delattr, metric, "topk_result")  # restores the class's own method
        yield values


def _noting(average, topk: list[int], values: dict[str, np.ndarray]):
    """Returns RecBole's ``topk_result``, changed to record what it averages, (U, max(topk))."""

    def noting(name: str, matrix: np.ndarray) -> dict[str, float]:
        values.update({f"{name}@{k}": matrix[:, k - 1].astype(np.float64) for k in topk})
        return average(name, matrix)

    return noting
