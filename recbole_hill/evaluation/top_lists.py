"""The lists of a run's test users, kept so that a later metric needs no new training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbole_hill.run.files import atomic_path

LISTS = "lists.parquet"


def lists_table(arm: str, users: np.ndarray, lists: np.ndarray) -> pa.Table:
    """Returns the lines of one arm: ``arm``, ``user`` and ``items``.

    Users and items have RecBole's numbers: number n is place n - 1 of the run's ``ids.json``.

    Args:
        arm: Name of the arm, one compared variant of a run.
        users: Users in the order of the lists, shape (U,).
        lists: Items of each list, best first, shape (U, k); 0 where a list has ended.
    """
    places = pa.array(np.asarray(lists, dtype=np.int32).ravel())
    columns = {
        "arm": pa.array([arm] * len(users)).dictionary_encode(),
        "user": pa.array(np.asarray(users, dtype=np.int32)),
        "items": pa.FixedSizeListArray.from_arrays(places, np.asarray(lists).shape[1]),
    }
    return pa.table(columns)


def write_lists(folder: str | Path, tables: list[pa.Table]) -> None:
    """Writes the arms' tables to a run's folder as ``lists.parquet``."""
    table = pa.concat_tables(tables).unify_dictionaries()
    with atomic_path(Path(folder) / LISTS) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["arm"])


def read_lists(folder: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads the lists of a run's test users.

    Args:
        folder: Folder of a finished run.

    Returns:
        Users, shape (U,), and their lists, shape (U, k), by arm; see :func:`lists_table`.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If the file is damaged.
    """
    file = Path(folder) / LISTS
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist: {folder} is no finished run, does not rank all items, or is "
            "of a version that kept no lists (--resume writes them)"
        )
    try:
        table = pq.read_table(file)
        names = np.asarray(table["arm"].to_pylist())
        users = table["user"].to_numpy()
        lists = table["items"].combine_chunks().flatten().to_numpy().reshape(len(users), -1)
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{file} is not a whole file of lists: {error}") from error
    arms = dict.fromkeys(names.tolist())
    return {arm: (users[names == arm], lists[names == arm]) for arm in arms}
