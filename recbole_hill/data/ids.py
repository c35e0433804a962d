"""The external ids behind a run's rows, kept so that a later run can take the rows over by id."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_hill.run.files import atomic_path

IDS = "ids.json"


@dataclass(frozen=True)
class Ids:
    """External ids in RecBole's order; RecBole's id 0, its padding, is left out.

    Attributes:
        users: External id of RecBole's user r + 1 at place r, shape (U,).
        items: The same of items, shape (I,).
    """

    users: np.ndarray
    items: np.ndarray

    @classmethod
    def of(cls, dataset) -> "Ids":
        """Returns a RecBole dataset's ids."""
        tokens, fields = dataset.field2id_token, (dataset.uid_field, dataset.iid_field)
        return cls(*(np.asarray(tokens[field][1:]).astype(str) for field in fields))

    def save(self, folder: Path) -> None:
        """Writes them to a run's folder, once."""
        if not (folder / IDS).exists():
            with atomic_path(folder / IDS) as temporary:
                lists = {"users": self.users.tolist(), "items": self.items.tolist()}
                temporary.write_text(json.dumps(lists), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Ids":
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If the run is of a version that kept no ids.
            ValueError: If the file is not whole.
        """
        text = (folder / IDS).read_text(encoding="utf-8")
        try:
            lists = json.loads(text)
            return cls(*(np.asarray(lists[name], dtype=str) for name in ("users", "items")))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / IDS} does not list a run's users and items") from error


def places(wanted: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Returns the place of each wanted id among those held, -1 where it is not, shape (N,)."""
    place_of = {token: place for place, token in enumerate(held.tolist())}
    return np.array([place_of.get(token, -1) for token in wanted.tolist()], dtype=np.int64)
