"""Beam search down the hierarchical index, batched over users."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import BLOCK_ENTRIES, Retriever, top_k


class BeamRetriever(Retriever):
    """Scores the coarsest nodes, keeps the best, scores their children, and so on to the items.

    Every parent -> child list is the index's own: an item is scored only if all nodes on its path
    were kept. Depths at which every node is kept are not scored, since there is nothing to choose;
    so a search that keeps every node everywhere is exact search, and costs the same.

    Args:
        index: The index; row r of ``item_vectors`` is its item r.
        item_vectors: Shape (I, D).
        item_ids: The id of each row, ascending; the row itself if None.
        beam_width: Nodes kept per user: one number for all depths, one per depth (coarsest first),
            or ``"full"`` to keep all.

    Raises:
        ValueError: If the index and the vectors do not fit, or a width is less than 1.
    """

    def __init__(
        self,
        index: HierarchicalIndex,
        item_vectors: Tensor,
        item_ids: Tensor | None = None,
        *,
        beam_width: int | Sequence[int] | str,
    ):
        super().__init__(item_vectors, item_ids)
        if index.n_items != len(item_vectors):
            raise ValueError(
                f"the index holds {index.n_items} items, the vectors {len(item_vectors)}"
            )
        self.widths = _widths(beam_width, tuple(reversed(index.nodes_per_depth)))
        device = self.item_vectors.device
        self._vectors = [torch.from_numpy(v.copy()).to(device) for v in index.vectors]
        self._vectors.insert(0, self.item_vectors)  # by depth, items first
        self._children = [
            tuple(torch.from_numpy(a.copy()).to(device) for a in index.children(depth))
            for depth in range(1, index.depth + 1)
        ]
        # A user's longest list of candidates is the children of the largest nodes of a depth.
        for depth, width in enumerate(reversed(self.widths), start=1):
            sizes = np.sort(np.diff(index.children(depth)[0]))
            candidates = int(sizes[-width:].sum())
            if width < len(sizes):
                entries = candidates * self.item_vectors.shape[1]
                self.block = min(self.block, max(1, BLOCK_ENTRIES // entries))

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        beam = None  # every node of the depth above was kept
        for depth, width in zip(range(len(self.widths), 0, -1), self.widths, strict=True):
            if beam is not None:
                scores, nodes = self._score_children(users, beam, depth + 1)
                kept, beam = top_k(scores, width, nodes)
                beam = torch.where(kept > -torch.inf, beam, -1)
            elif width < len(self._vectors[depth]):
                scores = users @ self._vectors[depth].T  # (B, K_depth)
                self.scored += scores.numel()
                beam = top_k(scores, width)[1]
        if beam is None:
            return self._search_all(users, k, seen)
        scores, items = self._score_children(users, beam, depth=1)
        return top_k(self._mask(scores, items, seen), k, items)

    def _score_children(self, users: Tensor, beam: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Scores the children of the beam's depth-``depth`` nodes.

        Args:
            users: Shape (B, D).
            beam: Node ids, shape (B, W), -1 where there is none.
            depth: Their depth.

        Returns:
            Scores and ids of the children, each (B, longest list), filled up with -inf and -1.
        """
        starts, members = self._children[depth - 1]
        nodes = beam.clamp_min(0)
        sizes = (starts[nodes + 1] - starts[nodes]) * (beam >= 0)  # (B, W)
        lengths = sizes.sum(1)
        sizes = sizes.flatten()
        # All children one after the other: the n-th child of a list is n places after its start.
        ends = sizes.cumsum(0)
        shift = (starts[nodes].flatten() - (ends - sizes)).repeat_interleave(sizes)
        children = members[shift + torch.arange(len(shift), device=beam.device)]
        filled = torch.arange(int(lengths.max()), device=beam.device) < lengths.unsqueeze(1)
        ids = torch.full(filled.shape, -1, dtype=torch.int64, device=beam.device)
        ids.masked_scatter_(filled, children)
        vectors = self._vectors[depth - 1].index_select(0, ids.clamp_min(0).flatten())
        scores = torch.bmm(vectors.view(*ids.shape, -1), users.unsqueeze(2)).squeeze(2)
        self.scored += len(children)
        return scores.masked_fill_(~filled, -torch.inf), ids

    def _mask(self, scores: Tensor, items: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        """Sets the seen items' scores to minus infinity."""
        users, rows = seen
        if not len(users):
            return scores
        n_items = len(self.item_vectors)
        own = torch.arange(len(scores), device=scores.device).unsqueeze(1) * n_items
        # An unfilled place (-1) may look like the last item of the user before; it is -inf anyway.
        return scores.masked_fill_(torch.isin(own + items, users * n_items + rows), -torch.inf)


def _widths(beam_width: int | Sequence[int] | str, nodes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the nodes kept per depth, coarsest first, at most those that there are."""
    if beam_width == "full":
        return nodes
    widths = (beam_width,) * len(nodes) if isinstance(beam_width, Integral) else beam_width
    if (
        not isinstance(widths, Sequence)
        or len(widths) != len(nodes)
        or any(not isinstance(width, Integral) or width < 1 for width in widths)
    ):
        raise ValueError(
            f"beam_width must be a positive integer, one per depth of {nodes}, or 'full'; "
            f"got {beam_width!r}"
        )
    return tuple(min(pair) for pair in zip(widths, nodes, strict=True))
