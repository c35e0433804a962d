"""The floor of a run: what popularity and item neighbours reach on its split, with no training.

The cells of a study share their data, and ``floor_file`` keeps the floor that one of them measured.
"""

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Evaluator
from recbole.utils import ModelType
from recbole.utils.argument_list import evaluation_arguments

from recbole_hill.checks import is_finite_number
from recbole_hill.config.properties import read_properties
from recbole_hill.data.splits import Data
from recbole_hill.evaluation.collector import TopListCollector
from recbole_hill.model.baselines.itemknn import nearest_items
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.run.jsonl import append_record, read_lines, short_id
from recbole_hill.run.provenance import commit

#: Settings besides RecBole's evaluation arguments that decide a metric.
_ALSO_DECIDE = ("cold_test_users", "tail_ratio")


def floor(config, data: Data) -> dict[str, dict[str, float]]:
    """Measures Pop, and ItemKNN with its default settings, on the run's split.

    The numbers are those of ``--model=Pop`` and ``--model=ItemKNN``. Only a general recommender
    that ranks all items has a floor: labelled logs have their base rate.

    Args:
        config: Configuration of the run. Its ``floor_file`` keeps floors: one of the same data,
            evaluation and commit is read from there, and another is added.
        data: The run's data.

    Returns:
        The run's metrics on the test set by method; empty for a run without a floor.
    """
    collectors = {name: TopListCollector(config) for name in ("Pop", "ItemKNN")}
    general = config["MODEL_TYPE"] in (ModelType.GENERAL, ModelType.TRADITIONAL)
    lists_do = all(collector.needs_lists_alone for collector in collectors.values())
    ranks_all = isinstance(data.test, FullSortEvalDataLoader)
    if not (general and lists_do and ranks_all) or config["tasks"]:
        return {}
    file = config["floor_file"]
    if not file:
        return _measured(config, data, collectors)
    settings = {key: config[key] for key in (*evaluation_arguments, *_ALSO_DECIDE)}
    of = short_id([data.sha256, data.dataset.item_num, commit(), settings])
    for record in read_lines(file, _fault).kept:
        if record["of"] == of:
            return record["floor"]
    measured = _measured(config, data, collectors)  # a run beside this one may do the same
    append_record(file, {"of": of, "floor": measured})
    return measured


def _fault(record: dict) -> str | None:
    """Returns what is wrong with a record of ``floor_file``, or None."""
    tables = record.get("floor")
    tables = list(tables.values()) if isinstance(tables, dict) else []
    numbers = [v for table in tables if isinstance(table, dict) for v in table.values()]
    whole = isinstance(record.get("of"), str) and numbers and all(map(is_finite_number, numbers))
    return None if whole else "not a floor's record"


def _measured(
    config, data: Data, collectors: dict[str, TopListCollector]
) -> dict[str, dict[str, float]]:
    """Measures the methods, each with its collector of lists."""
    matrix = train_matrix(data.train._dataset)
    popularity = np.asarray(matrix.mean(axis=0), dtype=np.float32)
    neighbours = nearest_items(matrix, **read_properties("model", "ItemKNN.yaml"))
    for collector in collectors.values():
        collector.data_collect(data.train)
    scores_of = {
        "Pop": lambda users: np.repeat(popularity, len(users), axis=0),
        "ItemKNN": lambda users: (matrix[users] @ neighbours).toarray(),
    }
    for interaction, seen, positive_u, positive_i in data.test:
        users = interaction[data.dataset.uid_field].numpy()
        for name, collector in collectors.items():  # one matrix of scores at a time
            scores = torch.from_numpy(scores_of[name](users))
            scores[:, 0] = -torch.inf  # RecBole's padding
            if seen is not None:
                scores[seen] = -torch.inf
            collector.eval_batch_collect(scores, interaction, positive_u, positive_i)
    evaluator = Evaluator(config)
    results = {name: evaluator.evaluate(c.get_data_struct()) for name, c in collectors.items()}
    return {name: {k: float(v) for k, v in result.items()} for name, result in results.items()}
