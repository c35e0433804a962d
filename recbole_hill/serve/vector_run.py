"""A finished run that is served from its vectors, in numpy: no RecBole, no torch, no data set."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_hill.checks import require_finite
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.bundle import Bundle
from recbole_hill.retrieval.in_numpy import BeamSearch, ExactSearch, FaissSearch, best_unseen
from recbole_hill.serve.served_run import Lists, ServedRun, require_length

#: Number of users whose lists are handed out at once.
_USERS_AT_ONCE = 256
_SEARCHES = {"beam": BeamSearch, "faiss": FaissSearch}


class VectorRun(ServedRun):
    """A finished run whose scores are inner products of vectors that it keeps.

    Args:
        folder: The run's folder, for messages.
        bundle: What the folder keeps for serving.

    Raises:
        ValueError: If a vector is not finite. The message names its id.
    """

    def __init__(self, folder: Path, bundle: Bundle):
        self.folder, self.bundle, self.about = folder, bundle, bundle.about
        self.user_tokens, self.item_tokens = bundle.ids.users, bundle.ids.items
        require_finite("user embeddings", bundle.user_vectors, self.user_tokens)
        require_finite("item embeddings", bundle.item_vectors, self.item_tokens)
        self.arrays = bundle.user_vectors, bundle.item_vectors

    @classmethod
    def load(cls, folder: Path) -> "VectorRun":
        """Reads the bundle in a run's folder."""
        return cls(folder, Bundle.load(folder))

    @property
    def index(self) -> HierarchicalIndex | None:
        """The run's index over its items, as it was saved; None for a run without an index."""
        return self.bundle.index

    def searched(
        self, rows, k, *, retrieval=None, beam_width=None, node_score=None
    ) -> Iterator[Lists]:
        """Searches for the users' best unseen items; see :class:`ServedRun`."""
        require_length(k)
        k = min(k, len(self.item_tokens))
        search = self.search(retrieval, beam_width, node_score)
        starts = range(0, len(rows), _USERS_AT_ONCE)
        return (self._block(rows[s : s + _USERS_AT_ONCE], k, search) for s in starts)

    def search(
        self, retrieval=None, beam_width=None, node_score=None
    ) -> ExactSearch | BeamSearch | FaissSearch:
        """Returns the search that makes the lists; for the arguments see ``recommend``."""
        name, settings = self.search_named(retrieval, beam_width, node_score)
        items = self.bundle.item_vectors
        if name == "exact":
            return ExactSearch(items)
        return _SEARCHES[name](self._index_of_vectors, items, **settings)

    @cached_property
    def _index_of_vectors(self) -> HierarchicalIndex:
        """The index with node vectors for the vectors that are served."""
        return self.bundle.index.refreshed(self.bundle.item_vectors)

    def _block(self, rows: np.ndarray, k: int, search) -> Lists:
        bundle = self.bundle
        scores = np.full((len(rows), k), -np.inf, dtype=np.float32)
        items = np.full((len(rows), k), -1, dtype=np.int64)
        seen = [bundle.seen(row) for row in rows.tolist()]
        lists = search.search_all(bundle.user_vectors[rows], k, seen)
        for place, (row, found) in enumerate(zip(rows.tolist(), lists, strict=True)):
            if bundle.is_cold[row]:
                found = best_unseen(bundle.popularity.copy(), k, seen[place])
            n = len(found[0])
            scores[place, :n], items[place, :n] = found
        return Lists(self.user_tokens[rows], scores, items)
