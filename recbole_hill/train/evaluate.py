"""The last step of a run: every arm on the test set, once."""

import time

import numpy as np

from recbole_hill.config.config import plain_settings
from recbole_hill.data.splits import Data
from recbole_hill.evaluation.per_user import user_table, write_per_user
from recbole_hill.evaluation.top_lists import lists_table, write_lists
from recbole_hill.host.per_user import keep_per_user
from recbole_hill.run.provenance import provenance
from recbole_hill.run.rows import candidates_of, is_sampled
from recbole_hill.train.arms import Arm
from recbole_hill.train.trainer import RunTrainer


def log_degrees(data: Data) -> np.ndarray:
    """Returns how popular each item is, ln(1 + train users), by RecBole's ids, (I + 1,).

    An arm that scores higher than another may only have more popular items in its lists.

    Args:
        data: The run's data.
    """
    dataset = data.train._dataset
    items = dataset.inter_feat[dataset.iid_field].numpy()
    return np.log1p(np.bincount(items, minlength=dataset.item_num))


def evaluate(trainer: RunTrainer, arms: list[Arm], data: Data) -> list[dict]:
    """Reads the test set once per arm, makes the rows, and keeps each user's metrics and list.

    Args:
        trainer: Trainer of the finished stages.
        arms: The arms from :func:`fit`.
        data: The run's data.

    Returns:
        One row per arm.
    """
    config = trainer.config
    common = {
        "model": config["model"],
        "dataset": config["dataset"],
        "data_sha256": data.sha256,
        **provenance(config),
        "settings": plain_settings(config),
        "candidates": candidates_of(plain_settings(config)),
    }
    if data.dataset.cold_test_users:
        rule, users = config["cold_test_users"], data.dataset.cold_test_users
        common["cold_test_users"] = {"rule": rule, "users": users}
    rows, tables, kept = [], [], []
    listed = []  # the rows of the arms whose lists are kept, with the listed items
    for arm in arms:
        trainer.take(arm)
        started = time.perf_counter()
        with (
            keep_per_user(trainer.ranking_evaluator) as values,
            trainer.eval_collector.keep_lists() as lists,
        ):
            metrics = trainer.test(data)
        rows.append(
            {
                **common,
                "arm": arm.name,
                "metrics": {name: float(value) for name, value in metrics.items()},
                "test_seconds": round(time.perf_counter() - started, 2),
                "stages": trainer.stages,
                **trainer.costs(data),
            }
        )
        if values:
            tables.append(user_table(arm.name, data.dataset, trainer.ranked_users(data), values))
        if lists and not is_sampled(common["candidates"]):
            users, items = np.asarray(trainer.ranked_users(data)), np.concatenate(lists)
            kept.append(lists_table(arm.name, users, items))
            listed.append((rows[-1], items[items > 0]))
    if tables:
        write_per_user(config["run_dir"], tables)
    if kept:
        write_lists(config["run_dir"], kept)
        popularity = log_degrees(data)
        for row, items in listed:
            row["list_popularity"] = round(float(popularity[items].mean()), 4)
    return rows
