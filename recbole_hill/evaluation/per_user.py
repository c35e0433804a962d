"""Every test user's contribution to the ranking metrics, stored so that tests need no rerun."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from recbole.evaluator import Evaluator

from recbole_hill.run.files import atomic_path

PER_USER = "per_user.parquet"


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


def ranked_users(loader) -> np.ndarray:
    """Returns internal ids of the users for whom a RecBole loader ranks items, in order, (U,).

    The loader of a sequential dataset ranks once per row, so a user can occur several times.
    """
    if hasattr(loader, "uid_list"):
        return np.asarray(loader.uid_list)
    return loader._dataset.inter_feat[loader._dataset.uid_field].numpy()


def user_table(arm: str, dataset, users: np.ndarray, values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Returns the lines of one arm: ``arm``, ``user`` (external id) and a column per metric.

    Args:
        arm: Name of the arm, one compared variant of a run.
        dataset: A RecBole dataset that knows the users' external ids.
        users: Internal ids in the order of the values, shape (U,).
        values: Values per metric, each of shape (U,).
    """
    tokens = dataset.field2id_token[dataset.uid_field][users].astype(str)
    return pd.DataFrame({"arm": arm, "user": tokens, **values})


def write_per_user(folder: str | Path, tables: list[pd.DataFrame]) -> None:
    """Writes the arms' tables to a run's folder as ``per_user.parquet``."""
    table = pd.concat(tables, ignore_index=True).astype({"arm": "category"})
    with atomic_path(Path(folder) / PER_USER) as temporary:
        table.to_parquet(temporary, engine="pyarrow", index=False)


def read_per_user(folder: str | Path, arm: str) -> pd.DataFrame:
    """Reads every test user's contribution to the metrics of one arm.

    Args:
        folder: Folder of a finished run.
        arm: The arm. A model without arms is listed under its own name.

    Returns:
        A float64 column per metric (``recall@20``), indexed by the external id ``user``. The mean
        of a column is the row's metric before rounding.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If the file is damaged, or has no such arm.
    """
    table = read_arms(folder)
    of_arm = (table["arm"] == arm).to_numpy()
    if not of_arm.any():
        known = ", ".join(table["arm"].unique())
        raise ValueError(f"{Path(folder) / PER_USER} has no arm {arm!r}; it has {known}")
    return table[of_arm].drop(columns="arm")


def read_arms(folder: str | Path) -> pd.DataFrame:
    """Reads the values of all arms: the columns of :func:`read_per_user` and a column ``arm``.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If the file is damaged.
    """
    file = Path(folder) / PER_USER
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist: {folder} is no finished run, has no ranking metric that is a "
            "mean over users, or is of a version that kept none (--resume writes it)"
        )
    try:
        table = pd.read_parquet(file, engine="pyarrow")
        return table.astype({"arm": str}).set_index("user")
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{file} is not a whole file of values per user: {error}") from error
