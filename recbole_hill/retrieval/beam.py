"""Beam search down the hierarchical index, for many users at once."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever, top_k
from recbole_hill.retrieval.descent import Children, Descent


class BeamRetriever(Retriever):
    """Scores the coarsest nodes, keeps the best, scores their children, and so on to the items.

    An item is a candidate only if all nodes on its path were kept; the lists of children are those
    of the index. A depth at which every node is kept is not scored, because there is no choice. A
    search that keeps every node at every depth is therefore exact search, at the same cost.

    A user whose list comes out too short is searched for with twice as many nodes at every depth,
    and so on until all are kept.

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
        self._index, self._node_score = index, node_score
        self._descent = Descent(index, self.item_vectors, beam_width, node_score)
        self._items = Children(*index.children(1), self.item_vectors, self._descent.n_kept)
        # A user's longest list of candidates contains the children of the largest nodes of a depth.
        fitting = self._descent.fitting(self._items, level=index.depth - 1)
        self.block = min(self.block, self._descent.block, fitting)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes kept at each depth, coarsest first."""
        return self._descent.widths

    @cached_property
    def _wider(self) -> "BeamRetriever":
        parts = self._index, self.item_vectors, self.item_ids
        widths = [2 * width for width in reversed(self.widths)]
        return BeamRetriever(*parts, beam_width=widths, node_score=self._node_score)

    @torch.no_grad()
    def kept_nodes(self, users: Tensor) -> list[Tensor]:
        """Returns the nodes that the search keeps for some users, depth by depth, finest first.

        Args:
            users: User vectors, shape (B, D), at most :attr:`block` of them.

        Returns:
            Node ids of each depth, (B, at most the width), -1 where there is no node.
        """
        kept = [beam for beam, _ in self._descent.levels(users.to(self.item_vectors))]
        # None: every node of the depth is kept, as many as the depth's width.
        every = (torch.arange(n, device=users.device).expand(len(users), n) for n in self.widths)
        return [a if b is None else b for a, b in zip(every, kept, strict=True)][::-1]

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        beam, scored = self._descent.nodes(users)
        if beam is None:
            return self._search_all(users, k, seen)
        scores, items, of_items = self._items.score(users, beam)
        self.scored += scored + of_items
        self.scored_nodes += scored
        return top_k(self._mask(scores, items, seen), k, items)
