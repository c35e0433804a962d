"""The external ids of a run's rows, stored so that a later run can match its rows by id."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_hill.run.files import atomic_path
from recbole_hill.run.folder import IDS
from recbole_hill.run.own_files import read_json


@dataclass(frozen=True)
class Ids:
    """External ids in RecBole's order, without RecBole's padding (id 0).

    Attributes:
        users: External ids, shape (U,); place r is RecBole's user r + 1.
        items: External ids, shape (I,); place r is RecBole's item r + 1.
    """

    users: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, dataset) -> "Ids":
        """Returns the ids of a RecBole dataset."""
        tokens, fields = dataset.field2id_token, (dataset.uid_field, dataset.iid_field)
        return cls(*(np.asarray(tokens[field][1:]).astype(str) for field in fields))

    def save(self, folder: Path) -> None:
        """Writes the ids to a run's folder, unless the folder has them."""
        if not (folder / IDS).exists():
            with atomic_path(folder / IDS) as temporary:
                lists = {"users": self.users.tolist(), "items": self.items.tolist()}
                temporary.write_text(json.dumps(lists), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Ids":
        """Reads the file that :meth:`save` wrote.

        Raises:
            FileNotFoundError: If the run was made by a version that kept no ids.
            ValueError: If the file is damaged.
        """
        lists = read_json(folder / IDS, users=list, items=list)
        return cls(*(np.asarray(lists[name], dtype=str) for name in ("users", "items")))


def places(wanted: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Returns the place of each wanted id in ``held``, or -1 if it is absent, shape (N,)."""
    place_of = {token: place for place, token in enumerate(held.tolist())}
    return np.array([place_of.get(token, -1) for token in wanted.tolist()], dtype=np.int64)
