"""Every test user's contribution to the ranking metrics, stored so that tests need no rerun."""

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_hill.run.files import atomic_path

PER_USER = "per_user.parquet"


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
        table = table.astype({"arm": str}).set_index("user")
        values = table.drop(columns="arm").to_numpy(np.float64)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ValueError(f"{file} is not a whole file of values per user: {error}") from error
    if not np.isfinite(values).all():
        raise ValueError(f"{file} holds values that are no finite numbers")
    return table
