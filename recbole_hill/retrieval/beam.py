"""Beam search down the hierarchical index, for many users at once."""

from collections.abc import Sequence

from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever, top_k
from recbole_hill.retrieval.descent import Children, Descent


class BeamRetriever(Retriever):
    """Scores the coarsest nodes, keeps the best, scores their children, and so on to the items.

    An item is a candidate only if all nodes on its path were kept; the lists of children are those
    of the index. A depth at which every node is kept is not scored, because there is no choice. A
    search that keeps every node at every depth is therefore exact search, at the same cost.

    Args:
        index: The index; row r of ``item_vectors`` is its item r.
        item_vectors: Shape (I, D).
        item_ids: Id of each row, ascending, shape (I,); the row number if None.
        beam_width: Nodes kept per user: one number for all depths, one per depth (finest first), or
            ``"full"`` to keep all.
        node_score: ``mean`` | ``best``, see :class:`~recbole_hill.retrieval.descent.Descent`.

    Raises:
        ValueError: If the index and the vectors do not fit, a width is less than 1, or
            ``node_score`` is unknown.
    """

    def __init__(
        self,
        index: HierarchicalIndex,
        item_vectors: Tensor,
        item_ids: Tensor | None = None,
        *,
        beam_width: int | Sequence[int] | str,
        node_score: str = "mean",
    ):
        super().__init__(item_vectors, item_ids)
        self._descent = Descent(index, self.item_vectors, beam_width, node_score)
        self._items = Children(*index.children(1), self.item_vectors, self._descent.n_kept)
        # A user's longest list of candidates contains the children of the largest nodes of a depth.
        fitting = self._descent.fitting(self._items, level=index.depth - 1)
        self.block = min(self.block, self._descent.block, fitting)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes kept at each depth, coarsest first."""
        return self._descent.widths

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        beam, scored = self._descent.nodes(users)
        if beam is None:
            return self._search_all(users, k, seen)
        scores, items, of_items = self._items.score(users, beam)
        self.scored += scored + of_items
        return top_k(self._mask(scores, items, seen), k, items)
