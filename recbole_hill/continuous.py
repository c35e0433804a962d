"""Continuous training: a run that goes on from a finished run, on newer data.

Users and items are known by their external ids. What the old run learnt of those that are still
there is taken over; new items are placed in its index at once, by the vectors they start with, and
deleted ones leave it. How many of the others move afterwards is the index's drift.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from recbole_hill.checkpoint import load_weights, random_state, restore_random_state
from recbole_hill.config import HillConfig, internal_defaults, read_properties
from recbole_hill.data.ids import IDS, Ids, places
from recbole_hill.data.splits import Data, load_data, require_same_data
from recbole_hill.index.codes import codes_of_tree, drift, matched
from recbole_hill.index.hierarchy import HierarchicalIndex, means
from recbole_hill.model.fit_once import train_matrix
from recbole_hill.model.transfer import RowMap, transfer
from recbole_hill.runs import read_config

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
        stage = "adapted" if settings["model"] == "HILL" else "backbone"
        file, index = folder / f"{stage}.safetensors", folder / "index.npz"
        if not file.is_file():
            raise FileNotFoundError(
                f"warm_start: the run in {folder} has not finished; finish it with "
                f"--resume={folder}"
            )
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
        backbone = self.settings.get("backbone")
        keys = internal_defaults(self.settings["model"], config["dataset"], backbone)
        keys = keys.keys() - read_properties("overall.yaml").keys()
        pairs = {key: [self.settings.get(key), config[key]] for key in sorted(keys)}
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
    with _random_numbers_kept():
        data = load_data(HillConfig(None, None, None, {**settings, "run_dir": str(folder)}))
    require_same_data(folder, data.sha256)
    return data


@contextmanager
def _random_numbers_kept():
    """Undoes what the block draws: a split by RecBole seeds every generator."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)


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


@dataclass(frozen=True)
class OldIndex:
    """What an index starts from on newer data, and what it is compared with afterwards.

    Attributes:
        carried: The old index over the new data's items.
        survivors: Rows of the items that were there before, in the new list, (S,).
        codes: Their nodes in the old index, (L, S).
        by_gradient: Whether these are numbers of a learner's nodes, which keep them; a k-means
            numbers its nodes anew, and they are matched by the items that they share.
    """

    carried: HierarchicalIndex
    survivors: np.ndarray
    codes: np.ndarray
    by_gradient: bool

    @classmethod
    def of(
        cls,
        index: HierarchicalIndex,
        items: np.ndarray,
        vectors: np.ndarray,
        codebooks: list[np.ndarray] | None = None,
    ) -> "OldIndex":
        """Prepares an old index for new data.

        Args:
            index: The old index.
            items: External ids of the new data, (I,).
            vectors: Their current vectors, (I, D).
            codebooks: The nodes that the index was published from, if it was learnt by gradient.
        """
        row = places(items, index.items)
        survivors = np.flatnonzero(row >= 0)
        if codebooks is None:
            codes = np.stack([index.assignments(depth) for depth in range(1, index.depth + 1)])
        else:
            codes = codes_of_tree(index, codebooks)
        carried = carried_over(index, items, vectors)
        return cls(carried, survivors, codes[:, row[survivors]], codebooks is not None)

    def drift(self, codes: np.ndarray) -> list[float]:
        """Returns the share of surviving items whose node has changed, at depths 1..L.

        Args:
            codes: The nodes of all items of the new data now, (L, I).
        """
        now = codes[:, self.survivors]
        if self.by_gradient:
            return drift(self.codes, now, self.carried.direction)
        return drift(self.codes, matched(self.codes, now))

    def centres(self) -> list[np.ndarray] | None:
        """Returns the centres of a ``bottom_up`` k-means that ends with the carried tree.

        These are means of the nodes below, unlike node vectors, which are means of items. A
        ``top_down`` tree does not tell its k-means' codewords: None.
        """
        if self.carried.direction == "top_down":
            return None
        found = [self.carried.vectors[0]]
        for parent, nodes in zip(self.carried.parents[1:], self.carried.vectors[1:], strict=True):
            found.append(means(found[-1], parent, len(nodes)))
        return found


def carried_over(
    index: HierarchicalIndex, items: np.ndarray, vectors: np.ndarray
) -> HierarchicalIndex:
    """Returns an index over another item list: deleted items gone, new ones in place.

    Node vectors become the means of the surviving items' current vectors (a graph model's change
    with the graph); a new item goes under the nearest depth-1 node. No surviving item moves.

    Args:
        index: The old index.
        items: External ids of the new data, (I,), at least one of them in the index.
        vectors: Their current vectors, (I, D).
    """
    row = places(index.items, items)
    surviving = row >= 0
    # What deleted items' vectors are does not matter: no node keeps one as a member.
    index = index.remove(index.items[~surviving], vectors[row.clip(min=0)])
    held = row[surviving]
    index = index.refreshed(vectors[held])
    added = np.setdiff1d(np.arange(len(items)), held)
    if len(added):
        index = index.add(items[added], vectors[added], vectors[held])
    order = places(items, index.items)
    parents = (index.parents[0][order], *index.parents[1:])
    return HierarchicalIndex.build(items, parents, vectors, index.direction, index.vectors)
