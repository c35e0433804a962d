"""What serving needs of a run whose scores are inner products, in one file of its folder.

It is read without RecBole, without torch and without the data set.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recbole_hill.data.ids import IDS, Ids
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.run.files import atomic_path
from recbole_hill.run.folder import CONFIG, INDEX
from recbole_hill.run.hashes import require_unchanged, warn_if_changed
from recbole_hill.run.own_files import parse_json

BUNDLE = "serving.safetensors"
_ARRAYS = (
    *("user_vectors", "item_vectors", "seen_starts", "seen_items"),
    *("is_cold", "popularity"),
)


@dataclass(frozen=True, eq=False)
class Bundle:
    """Vectors, ids, what each user has, and the index.

    Attributes:
        about: Plain data: ``model``, ``dataset``, ``data_sha256``, and how lists are made:
            ``retrieval``, ``beam_width`` and ``node_score`` (the last two None without an index).
        ids: External ids of the U users and the I items.
        user_vectors: Shape (U, D), float32.
        item_vectors: Shape (I, D), float32.
        seen_starts: Shape (U + 1,): user u has the items ``seen_items[seen_starts[u] :
            seen_starts[u + 1]]`` in train and validation.
        seen_items: Item rows, shape (E,).
        is_cold: Whether a user without a train item gets the most popular items, shape (U,).
        popularity: Scores of the items for these users, shape (I,).
        index: The index as it was saved; None for a model without one.
    """

    about: dict
    ids: Ids
    user_vectors: np.ndarray
    item_vectors: np.ndarray
    seen_starts: np.ndarray
    seen_items: np.ndarray
    is_cold: np.ndarray
    popularity: np.ndarray
    index: HierarchicalIndex | None = None

    def seen(self, user: int) -> np.ndarray:
        """Returns the rows of the items that a user has, by the user's row."""
        return self.seen_items[self.seen_starts[user] : self.seen_starts[user + 1]]

    def save(self, folder: Path) -> None:
        """Writes what the run's folder does not hold already, as it holds ids and index."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        about = json.dumps(self.about, sort_keys=True)
        metadata = {"about": about, "sha256": _sha256(about, arrays)}
        with atomic_path(folder / BUNDLE) as temporary:
            save_file(arrays, temporary, metadata=metadata)

    @classmethod
    def load(cls, folder: Path) -> "Bundle":
        """Reads the bundle of a run's folder.

        Raises:
            ValueError: If a file is not whole, was changed, or is of another run.
        """
        file = folder / BUNDLE
        require_unchanged(folder, BUNDLE, IDS, INDEX)
        warn_if_changed(folder, CONFIG)
        try:
            with safe_open(file, framework="np") as opened:
                metadata = opened.metadata() or {}
                arrays = {name: opened.get_tensor(name) for name in _ARRAYS}
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{file} is not a whole serving file: {error}") from error
        about = metadata.get("about", "")
        if metadata.get("sha256") != _sha256(about, arrays):
            raise ValueError(f"{file} was changed after it was saved: its SHA-256 is another")
        ids = Ids.load(folder)
        expected = tuple(len(arrays[name]) for name in _ARRAYS[:2])
        if expected != (len(ids.users), len(ids.items)):
            raise ValueError(
                f"{file} holds {expected[0]:,} users and {expected[1]:,} items, the ids beside it "
                f"name {len(ids.users):,} and {len(ids.items):,}: they are of different runs"
            )
        index = folder / INDEX
        of_items = HierarchicalIndex.load(index, items=ids.items) if index.is_file() else None
        return cls(parse_json(about, f"{file}: about"), ids, **arrays, index=of_items)


def _sha256(about: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
