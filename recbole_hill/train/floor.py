"""The floor of a run: what popularity and item neighbours reach on its split, with no training."""

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.utils import ModelType
from torch import Tensor

from recbole_hill.config.properties import read_properties
from recbole_hill.data.splits import Data
from recbole_hill.evaluation.collector import TopListCollector
from recbole_hill.model.baselines.itemknn import largest, nearest_items
from recbole_hill.model.bases.fit_once import train_matrix


def floor(config, data: Data) -> dict[str, dict[str, float]]:
    """Measures Pop, and ItemKNN with its default settings, on the run's split.

    Among equal scores the item of the lower id is first. ItemKNN lists no item of score 0. Only a
    general recommender that ranks all items has a floor: labelled logs have their base rate.

    Args:
        config: Configuration of the run.
        data: The run's data.

    Returns:
        The run's metrics on the test set by method; empty for a run without a floor.
    """
    general = config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    collectors = {name: TopListCollector(config) for name in ("Pop", "ItemKNN")}
    lists_do = all(collector.needs_lists_alone for collector in collectors.values())
    ranks_all = isinstance(data.test, FullSortEvalDataLoader)
    if not (general and lists_do and ranks_all) or config["tasks"]:
        return {}
    matrix, k = train_matrix(data.train._dataset), max(config["topk"])
    popular = np.argsort(-np.asarray(matrix.sum(axis=0)).ravel(), kind="stable")
    popular = popular[popular > 0]  # item 0 is RecBole's padding
    neighbours = nearest_items(matrix, **read_properties("model", "ItemKNN.yaml"))
    taken = np.zeros(matrix.shape[1], dtype=bool)
    for collector in collectors.values():
        collector.data_collect(data.train)
    for interaction, seen, positive_u, positive_i in data.test:
        users = interaction[data.dataset.uid_field].numpy()
        scores = matrix[users] @ neighbours
        lists = {name: np.zeros((len(users), k), dtype=np.int64) for name in collectors}
        for row, had in enumerate(_seen_of(seen, len(users))):
            taken[had] = True
            part = slice(*scores.indptr[row : row + 2])
            for name, best in {
                "Pop": _first(popular[: k + len(had)], taken, k),
                "ItemKNN": _best(scores.indices[part], scores.data[part], taken, k),
            }.items():
                lists[name][row, : len(best)] = best
            taken[had] = False
        for name, collector in collectors.items():
            best = torch.from_numpy(lists[name])  # a list that ends early goes on with 0
            collector.collect_lists(best, best > 0, positive_u, positive_i, matrix.shape[1])
    evaluator = Evaluator(config)
    results = {name: evaluator.evaluate(c.get_data_struct()) for name, c in collectors.items()}
    return {name: {k: float(v) for k, v in result.items()} for name, result in results.items()}


def _seen_of(seen: tuple[Tensor, Tensor] | None, n_users: int) -> list[np.ndarray]:
    """Returns the items that each user of a batch has, of RecBole's pairs (row, item)."""
    if seen is None:
        return [np.empty(0, dtype=np.int64)] * n_users
    rows, items = (part.numpy() for part in seen)
    order = np.argsort(rows, kind="stable")
    return np.split(items[order], np.searchsorted(rows[order], np.arange(1, n_users)))


def _first(ranked: np.ndarray, taken: np.ndarray, k: int) -> np.ndarray:
    """Returns the first k items of a ranking that are not taken."""
    return ranked[~taken[ranked]][:k]


def _best(items: np.ndarray, scores: np.ndarray, taken: np.ndarray, k: int) -> np.ndarray:
    """Returns the k items of the largest scores above 0 that are not taken, best first."""
    free = ~taken[items]
    items, scores = items[free], scores[free]
    best = largest(scores, items, k)
    items, scores = items[best], scores[best]
    return items[np.lexsort((items, -scores))]
