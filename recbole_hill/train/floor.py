"""The floor of a run: what popularity and item neighbours reach on its split, with no training."""

from itertools import pairwise

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
    for collector in collectors.values():
        collector.data_collect(data.train)
    for interaction, seen, positive_u, positive_i in data.test:
        users = interaction[data.dataset.uid_field].numpy()
        masks = _seen_of(seen, len(users))
        scores = matrix[users] @ neighbours
        rows = (slice(low, high) for low, high in pairwise(scores.indptr))
        lists = {
            "Pop": [_first(popular, mask, k) for mask in masks],
            "ItemKNN": [
                _best(scores.indices[row], scores.data[row], mask, k)
                for row, mask in zip(rows, masks, strict=True)
            ],
        }
        for name, collector in collectors.items():
            best = _padded(lists[name], k)
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


def _first(ranked: np.ndarray, seen: np.ndarray, k: int) -> np.ndarray:
    """Returns the first k items of a ranking that a user has not."""
    candidates = ranked[: k + len(seen)]
    return candidates[~np.isin(candidates, seen)][:k]


def _best(items: np.ndarray, scores: np.ndarray, seen: np.ndarray, k: int) -> np.ndarray:
    """Returns a user's k best items that the user has not, best first."""
    new = ~np.isin(items, seen)
    items, scores = items[new], scores[new]
    best = largest(scores, items, k)
    items, scores = items[best], scores[best]
    return items[np.lexsort((items, -scores))]


def _padded(lists: list[np.ndarray], k: int) -> Tensor:
    """Returns lists as one tensor, shape (B, k), with 0 where a list has ended."""
    result = np.zeros((len(lists), k), dtype=np.int64)
    for row, items in zip(result, lists, strict=True):
        row[: len(items)] = items
    return torch.from_numpy(result)
