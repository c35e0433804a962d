"""Finished runs beyond accuracy: a table of the lists that they kept, with no new training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_hill.config.config import HillConfig, without_retired
from recbole_hill.data.splits import known_data, load_data, require_same_data
from recbole_hill.evaluation.beyond import Interactions, beyond
from recbole_hill.evaluation.top_lists import LISTS, read_lists
from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.files import path_inside
from recbole_hill.run.folder import read_config
from recbole_hill.run.hashes import require_unchanged
from recbole_hill.run.ledger import CELLS, DONE, ledger_of

#: Column of the table, its digits, and what it is; `{k}` is the length of the lists.
COLUMNS = {
    "recall": ("recall@{k}", 4, "as in the run's own table"),
    "coverage": ("coverage", 4, "share of the items that are on a list; more is wider"),
    "gini": ("Gini", 4, "0: all items are listed equally often; 1: one item is on all lists"),
    "novelty": ("novelty", 2, "mean of -log2 of the share of train users who have an item, bits"),
    "diversity": ("diversity", 4, "mean of 1 - cosine of two items' train users, within a list"),
    "popularity": ("popularity", 1, "mean number of train users of a listed item"),
    "tail": ("tail", 4, "share of places with items outside the most popular fifth"),
    "popq": ("PopQ", 4, "place by popularity of a user's first hit among his test items, 0 to 1"),
    "reo": ("REO", 4, "spread of the recall of five popularity groups of items; 0 is equal"),
    "rsp": ("RSP", 4, "spread of the groups' chances to be listed; 0 is equal"),
    "recall_heavy": ("heavy", 4, "recall of the fifth of the test users with the most train items"),
    "recall_light": ("light", 4, "recall of the fifth with the fewest"),
    "user_gap": ("gap", 4, "heavy minus light"),
}


def beyond_table(folders: Sequence[str | Path], k: int | None = None) -> str:
    """Returns a line per run and arm in Markdown, and a note on each column.

    Args:
        folders: Folders of runs and of studies; a study stands for its finished cells.
        k: Length of the lists; None: that of the first run's ``valid_metric``.

    Raises:
        FileNotFoundError: If a run kept no lists.
        ValueError: If a run's data or lists are not those that it had, lists are shorter than k, or
            the runs differ in their data.
    """
    runs = [run for folder in folders for run in _runs_of(Path(folder))]
    first = read_config(runs[0])
    k = k or int(str(first["valid_metric"]).partition("@")[2] or max(first["topk"]))
    data: dict[tuple, Interactions] = {}
    lines, hashes = [], {}
    for run in runs:
        require_unchanged(run, LISTS)
        settings = read_config(run)
        hashes.setdefault(known_data(run), run)
        if len(hashes) > 1:
            one, other = hashes.values()
            raise ValueError(f"{other} is on other data than {one}: their lists do not compare")
        key = settings["protocol"], settings["split_seed"]
        if key not in data:
            data[key] = _interactions_of(run, settings)
        for arm, (users, lists) in read_lists(run).items():
            if lists.shape[1] < k:
                raise ValueError(f"{run} kept lists of {lists.shape[1]} items, k is {k}")
            values = beyond(users - 1, lists[:, :k] - 1, data[key])
            lines.append([run.name, arm, *(_cell(name, values[name]) for name in COLUMNS)])
    head = ["run", "arm", *(title.format(k=k) for title, _, _ in COLUMNS.values())]
    notes = [f"- {title.format(k=k)}: {meaning}" for title, _, meaning in COLUMNS.values()]
    about = f"{first['dataset']} ({next(iter(hashes))[:12]}), lists of {k} items"
    return "\n".join([pipe_table(head, lines), "", about, *notes])


def _runs_of(folder: Path) -> list[Path]:
    """Returns the folders of a study's finished cells, or the run's own folder."""
    if not (folder / CELLS).is_file():
        return [folder]
    cells = ledger_of(folder).with_status(DONE)
    if not cells:
        raise ValueError(f"{folder} is a study without a finished cell")
    return [path_inside(folder, cell["run_dir"]) for cell in cells]


def _interactions_of(run: Path, settings: dict) -> Interactions:
    """Loads the data of a run, and makes sure that they are those that it saw."""
    config = HillConfig(None, None, None, {**without_retired(settings), "run_dir": str(run)})
    data = load_data(config)
    require_same_data(run, data.sha256)
    return Interactions.of(config, data)


def _cell(name: str, value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.{COLUMNS[name][1]}f}"
