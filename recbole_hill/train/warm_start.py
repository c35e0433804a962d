"""Continuous training: a run that goes on from a finished run, on newer data.

Users and items are known by their external ids; what the old run learnt of those that are still
there is taken over. Its index is :class:`recbole_hill.index.warm_start.OldIndex`'s matter.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.properties import chosen_parts, internal_defaults, read_properties
from recbole_hill.data.ids import IDS, Ids
from recbole_hill.data.splits import Data, load_data, require_same_data
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.transfer import RowMap, transfer
from recbole_hill.run.checkpoint import load_weights, random_numbers_kept
from recbole_hill.run.folder import read_config, served_weights

#: What an old run and its continuation must agree on, as far as the model has it.
_SAME = (
    "model",
    "backbone",
    "embedding_size",
    "index_learning",
    "index_direction",
    "nodes_per_depth",
)


@dataclass(frozen=True)
class OldRun:
    """A finished run to continue from.

    Attributes:
        folder: Where it is.
        settings: Its configuration.
        stages: Its ``stages.json``.
        ids: Its users and items.
        weights: The weights that it kept.
        index: Its index; None if it has none.
    """

    folder: Path
    settings: dict
    stages: dict[str, dict]
    ids: Ids
    weights: dict[str, Tensor]
    index: HierarchicalIndex | None

    @classmethod
    def load(cls, folder: str | Path, config) -> "OldRun":
        """Reads a finished run that ``config`` can continue.

        Raises:
            FileNotFoundError: If it is no run's folder, has not finished, or its ids are lost.
            ValueError: If it is of another model, backbone or size; names the key and both values.
        """
        folder = Path(folder)
        settings = read_config(folder)
        for key in _SAME:
            if settings.get(key) != config[key]:
                raise ValueError(
                    f"warm_start: {folder} is a run with {key} {settings.get(key)!r}, not "
                    f"{config[key]!r}; accepted is {key} {settings.get(key)!r}"
                )
        try:
            file, index = served_weights(folder), folder / "index.npz"
        except FileNotFoundError as error:
            raise FileNotFoundError(f"warm_start: {error}") from error
        return cls(
            folder,
            settings,
            json.loads((folder / "stages.json").read_text()),
            _ids_of(folder, settings),
            load_weights(file),
            HierarchicalIndex.load(index) if index.is_file() else None,
        )

    def changed_settings(self, config) -> dict[str, list]:
        """Returns the model's settings that are others here: by key, the old value and ours."""
        parts = chosen_parts(self.settings)
        keys = internal_defaults(self.settings["model"], config["dataset"], **parts)
        keys = keys.keys() - read_properties("overall.yaml").keys()
        ours = plain_settings(config)
        pairs = {key: [self.settings.get(key), ours.get(key)] for key in sorted(keys)}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def epochs(self) -> int:
        """The epochs its backbone was trained for, with those of the runs that it continued."""
        before = self.stages.get("warm_start", {}).get("epochs_before", 0)
        return before + self.stages["backbone"]["epochs"]


def seen_before(folder: str | Path, data: Data) -> dict[str, float | None]:
    """Says how much of what a run chooses by and is tested on, the runs before it trained on.

    New test data that are later than all old ones give 0. Validation does not: ``holdout`` draws it
    from the whole train set, of which the old run may have seen nine tenths.

    Args:
        folder: The run to continue.
        data: The new data.

    Returns:
        Shares of the interactions in ``valid`` and ``test``; None if the data of that run, or of
        one that it continued, are no longer there.
    """
    trained = []
    while folder:
        try:
            settings = read_config(Path(folder))
            trained.append(_pairs(_data_of(Path(folder), settings).train))
        except (OSError, ValueError):
            return {"valid": None, "test": None}
        folder = settings.get("warm_start")
    trained = np.concatenate(trained)
    parts = {part: _pairs(getattr(data, part)) for part in ("valid", "test")}
    return {part: float(np.isin(pairs, trained).mean()) for part, pairs in parts.items()}


def _pairs(loader) -> np.ndarray:
    """Returns a loader's interactions as text in external ids, shape (E,)."""
    dataset = loader._dataset
    users, items = (
        dataset.field2id_token[field][dataset.inter_feat[field].numpy()].astype(str)
        for field in (dataset.uid_field, dataset.iid_field)
    )
    return np.char.add(np.char.add(users, "\t"), items)


def _ids_of(folder: Path, settings: dict) -> Ids:
    """Returns a run's ids; of a run before ids were kept, from its data if they still are there."""
    if (folder / IDS).is_file():
        return Ids.load(folder)
    try:
        return Ids.of(_data_of(folder, settings).dataset)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"warm_start: {folder} has no {IDS}, and its data cannot be read again: {error}"
        ) from error


def _data_of(folder: Path, settings: dict) -> Data:
    """Reads a run's own data again; they must be the same."""
    with random_numbers_kept():  # a split by RecBole seeds every generator
        data = load_data(HillConfig(None, None, None, {**settings, "run_dir": str(folder)}))
    require_same_data(folder, data.sha256)
    return data


def take_over(model: nn.Module, old: OldRun, dataset) -> dict:
    """Gives a model, built on newer data, what the old run knew of it.

    Args:
        model: With its seeded weights; they are replaced. See
            :func:`~recbole_hill.model.transfer.transfer`.
        old: The run to continue.
        dataset: RecBole's train dataset of the new data.

    Returns:
        How many users and items were kept, added and removed.

    Raises:
        ValueError: If the model is fitted at once, the two share no item, or the weights do not
            fit; names the run.
    """
    name = old.settings["model"]
    if hasattr(model, "fit_once"):
        raise ValueError(
            f"warm_start continues models that train by epochs, and "
            f"{old.settings.get('backbone') or name} is fitted at once: run it on the new data"
        )
    new = Ids.of(dataset)
    rows = RowMap.between(old.ids, new)
    counts = {}
    for side in ("users", "items"):
        kept = int(rows.known(side)[1:].sum())
        counts[f"{side}_kept"] = kept
        counts[f"{side}_added"] = len(getattr(new, side)) - kept
        counts[f"{side}_removed"] = len(getattr(old.ids, side)) - kept
    if not counts["items_kept"]:
        raise ValueError(
            f"warm_start: {old.settings['dataset']} (of {old.folder}) and {dataset.dataset_name} "
            f"share no item; theirs are such as {old.ids.items[0]!r}, these {new.items[0]!r}"
        )
    # Not what RecBole caches beside the weights: it is of the old data.
    theirs = {name: x for name, x in old.weights.items() if not name.startswith("other_parameter.")}
    seeded = {name: value.cpu() for name, value in model.state_dict().items()}
    try:
        weights = transfer(theirs, seeded, rows, train_matrix(dataset))
    except ValueError as error:
        raise ValueError(f"warm_start: {old.folder}: {error}") from error
    model.load_state_dict(weights)
    return counts
