"""Continuous training: a run that continues a finished run, on newer data.

Users and items are known by their external ids. For users and items that are in the old and the new
data, the learnt weights are taken over. :class:`recbole_hill.index.warm_start.OldIndex` takes over
the index.
"""

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
from recbole_hill.model.hill import FIXED
from recbole_hill.model.transfer import RowMap, transfer
from recbole_hill.run.checkpoint import load_weights, random_numbers_kept
from recbole_hill.run.folder import INDEX, STAGES, read_config, read_stages, served_weights
from recbole_hill.run.hashes import require_unchanged

#: Settings that must be equal in the old run and in its continuation, as far as the model has them.
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
    """A finished run to continue.

    Attributes:
        folder: Folder of the run.
        settings: Configuration of the run.
        stages: Content of its ``stages.json``.
        ids: Its users and items.
        weights: The weights that it serves, without vectors that serve in place of the backbone's:
            these do not learn.
        index: Its index; None if it has no index.
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

        Args:
            folder: Folder of the run.
            config: Configuration of the new run.

        Raises:
            FileNotFoundError: If the folder is not a run's folder, the run has not finished, or its
                ids are lost.
            ValueError: If the model, the backbone or a size differs. The message names the key and
                both values.
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
            file, index = served_weights(folder), folder / INDEX
        except FileNotFoundError as error:
            raise FileNotFoundError(f"warm_start: {error}") from error
        require_unchanged(folder, file.name, INDEX, STAGES, IDS)
        return cls(
            folder,
            settings,
            read_stages(folder),
            _ids_of(folder, settings),
            {name: x for name, x in load_weights(file).items() if name not in FIXED},
            HierarchicalIndex.load(index) if index.is_file() else None,
        )

    def changed_settings(self, config) -> dict[str, list]:
        """Returns the model's settings that differ: by key, the old value and the new value."""
        parts = chosen_parts(self.settings)
        keys = internal_defaults(self.settings["model"], config["dataset"], **parts)
        keys = keys.keys() - read_properties("overall.yaml").keys()
        new = plain_settings(config)
        pairs = {key: [self.settings.get(key), new.get(key)] for key in sorted(keys)}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def epochs(self) -> int:
        """Number of epochs of the backbone, including those of the runs that this run continued."""
        before = self.stages.get("warm_start", {}).get("epochs_before", 0)
        return before + self.stages["backbone"]["epochs"]


def seen_before(folder: str | Path, data: Data) -> dict[str, float | None]:
    """Returns how much of a run's validation and test data the earlier runs have trained on.

    The share is 0 for test data that are later than all old data. For validation it is not:
    ``holdout`` draws the validation set from the whole train set, and the old run may have seen
    nine tenths of it.

    Args:
        folder: Folder of the run to continue.
        data: The new data.

    Returns:
        Shares of the interactions in ``valid`` and ``test``; None if the data of the old run, or of
        a run that it continued, are no longer there.
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
    """Returns a loader's interactions as text with external ids, shape (E,)."""
    dataset = loader._dataset
    users, items = (
        dataset.field2id_token[field][dataset.inter_feat[field].numpy()].astype(str)
        for field in (dataset.uid_field, dataset.iid_field)
    )
    return np.char.add(np.char.add(users, "\t"), items)


def _ids_of(folder: Path, settings: dict) -> Ids:
    """Returns a run's ids; if the run did not save them, reads them from its data if possible."""
    if (folder / IDS).is_file():
        return Ids.load(folder)
    try:
        return Ids.of(_data_of(folder, settings).dataset)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"warm_start: {folder} has no {IDS}, and its data cannot be read again: {error}"
        ) from error


def _data_of(folder: Path, settings: dict) -> Data:
    """Reads a run's own data again; refuses data that have changed."""
    with random_numbers_kept():  # a split by RecBole seeds every generator
        data = load_data(HillConfig(None, None, None, {**settings, "run_dir": str(folder)}))
    require_same_data(folder, data.sha256)
    return data


def inherit_weights(model: nn.Module, old: OldRun, dataset) -> dict:
    """Gives a model, built on newer data, the weights of the old run.

    Args:
        model: Model with its seeded weights, which are replaced. See
            :func:`~recbole_hill.model.transfer.transfer`.
        old: The run to continue.
        dataset: RecBole's train dataset of the new data.

    Returns:
        Numbers of users and items that were kept, added and removed.

    Raises:
        ValueError: If the model is fitted at once (without epochs), the two runs share no item, or
            the weights do not fit. The message names the run.
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
    # Caches that RecBole saves beside the weights are left out: they belong to the old data.
    old_weights = {
        name: x for name, x in old.weights.items() if not name.startswith("other_parameter.")
    }
    seeded = {name: value.cpu() for name, value in model.state_dict().items()}
    try:
        weights = transfer(old_weights, seeded, rows, train_matrix(dataset))
    except ValueError as error:
        raise ValueError(f"warm_start: {old.folder}: {error}") from error
    model.load_state_dict(weights)
    return counts
