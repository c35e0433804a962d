"""The searches of :mod:`recbole_hill.retrieval` in numpy, user by user, for serving without torch.

To import torch takes longer than to make a list. The lists are those of the retrievers for whole
batches; only scores that differ by less than the rounding of a product may change places.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from recbole_hill.checks import one_of
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_scores import lead_of_best
from recbole_hill.retrieval.inverted_file import inverted_file
from recbole_hill.retrieval.widths import NODE_SCORES, beam_widths, require_fit


class ExactSearch:
    """Scores every item.

    Args:
        items: Item vectors, shape (I, D), float32.
    """

    def __init__(self, items: np.ndarray):
        self._items = items

    def search(self, user: np.ndarray, k: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns a user's best items that he has not seen.

        Args:
            user: The user's vector, shape (D,).
            k: List length, at least 1.
            seen: Rows of the items that are left out, shape (S,).

        Returns:
            Scores, descending, and item rows, each (at most k,); ties are ordered by smallest row.
        """
        return best_unseen(self._items @ user, k, seen)

    def search_all(
        self, users: np.ndarray, k: int, seen: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the result of :meth:`search` for each of the users (B, D): one matrix product."""
        scores = users @ self._items.T  # (B, I)
        return [best_unseen(row, k, own) for row, own in zip(scores, seen, strict=True)]


class BeamSearch:
    """Keeps the best nodes of each depth, from the coarsest down, and scores the items below them.

    A user whose list comes out too short, because he has seen most of these items, is searched for
    with twice as many nodes at every depth, and so on until all are kept.

    Args:
        index: The index, its node vectors the means of the items' vectors; row r is item r.
        items: Item vectors, shape (I, D), float32.
        beam_width, node_score: See :class:`~recbole_hill.retrieval.descent.Descent`.

    Raises:
        ValueError: If the index and the vectors do not fit, or a width or the node score is not
            valid.
    """

    def __init__(
        self,
        index: HierarchicalIndex,
        items: np.ndarray,
        beam_width: int | Sequence[int] | str,
        node_score: str = "mean",
    ):
        require_fit(index, items)
        self._items, self._index, self._node_score = items, index, node_score
        self._by_best = one_of("node_score", node_score, NODE_SCORES) == "best"
        #: Nodes kept at each depth, finest first.
        self.widths = beam_widths(beam_width, index.nodes_per_depth)
        self._nodes = list(index.vectors)
        if self._by_best:
            leads = lead_of_best(index, items)
            self._nodes = [np.column_stack(pair) for pair in zip(self._nodes, leads, strict=True)]

    def nodes(self, user: np.ndarray) -> np.ndarray:
        """Returns the depth-1 nodes that are kept for a user, best first, (at most the width,).

        Args:
            user: The user's vector, shape (D,).
        """
        if self._by_best:
            user = np.append(user, np.linalg.norm(user)).astype(np.float32)
        kept = None
        for depth in range(self._index.depth, 0, -1):
            nodes, width = self._nodes[depth - 1], self.widths[depth - 1]
            found = np.arange(len(nodes)) if kept is None else self._children(depth + 1, kept)
            if kept is None and width == len(nodes):  # every node is kept: there is no choice
                continue
            kept = found[best_places(nodes[found] @ user, width)]
        return np.arange(len(self._nodes[0])) if kept is None else kept

    def search(self, user: np.ndarray, k: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns a user's best items; see :meth:`ExactSearch.search`."""
        scores, found = self._search(user, k, seen)
        if len(found) < min(k, len(self._items) - len(np.unique(seen))):
            return self._wider.search(user, k, seen)
        return scores, found

    @cached_property
    def _wider(self) -> "BeamSearch":
        widths = [2 * width for width in self.widths]
        return BeamSearch(self._index, self._items, widths, self._node_score)

    def _search(self, user: np.ndarray, k: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the best of the items below the kept nodes."""
        found = self._children(1, self.nodes(user))
        scores = self._items[found] @ user
        scores[np.isin(found, seen)] = -np.inf
        best = best_places(scores, k)
        return scores[best], found[best]

    def search_all(
        self, users: np.ndarray, k: int, seen: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the result of :meth:`search` for each of the users (B, D)."""
        return [self.search(user, k, own) for user, own in zip(users, seen, strict=True)]

    def _children(self, depth: int, nodes: np.ndarray) -> np.ndarray:
        """Returns the children of nodes at a depth, ascending, as :func:`best_places` needs it."""
        starts, ids = self._index.children(depth)
        return np.sort(np.concatenate([ids[starts[n] : starts[n + 1]] for n in nodes]))


class FaissSearch(BeamSearch):
    """Lets FAISS scan the items of the depth-1 nodes that :class:`BeamSearch` keeps."""

    def __init__(self, index, items, beam_width, node_score="mean"):
        super().__init__(index, items, beam_width, node_score)
        #: The lists by depth-1 node, as FAISS itself reads and writes them.
        self.faiss_index = inverted_file(index, items)
        self.faiss_index.nprobe = self.widths[0]

    def _search(self, user: np.ndarray, k: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from faiss.contrib.ivf_tools import search_preassigned

        lists = np.full((1, self.faiss_index.nprobe), -1, dtype=np.int64)
        nodes = self.nodes(user)
        lists[0, : len(nodes)] = nodes
        length = min(k + len(seen) + 1, len(self._items))
        while True:
            fetched = search_preassigned(self.faiss_index, user[None], length, lists)
            scores, found = (part[0] for part in fetched)
            unseen = np.flatnonzero((found >= 0) & ~np.isin(found, seen))
            order = unseen[np.lexsort((found[unseen], -scores[unseen]))][:k]
            cut = len(order) and found[-1] >= 0 and scores[order[-1]] == scores[-1]
            if not cut or length == len(self._items):
                return scores[order], found[order]
            length = len(self._items)  # an item as good as the last may be among those not fetched


def best_unseen(scores: np.ndarray, k: int, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k best scores of all items but the seen ones, and their rows; changes scores."""
    scores[seen] = -np.inf
    best = best_places(scores, k)
    return scores[best], best


def best_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Returns the places of the k largest scores, descending, ties by smallest place.

    Args:
        scores: Shape (N,); -inf is never among the best.
        k: At least 1.

    Returns:
        Shape (at most k,).
    """
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    places = places[scores[places] > -np.inf]
    return places[np.argsort(-scores[places], kind="stable")][:k]
