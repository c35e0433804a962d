"""Beam search down the hierarchical index, batched over users."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever, top_k


class BeamRetriever(Retriever):
    """Scores the coarsest nodes, keeps the best, scores their children, and so on to the items.

    Every parent -> child list is the index's own: an item is scored only if all nodes on its path
    were kept. With every node kept the result is that of exact search.

    Args:
        index: The index; row r of ``item_vectors`` is its item r.
        item_vectors: Shape (I, D).
        item_ids: The id of each row; the row itself if None.
        beam_width: Nodes kept per user: one number for all depths, one per depth (coarsest first),
            or ``"full"`` to keep all.

    Raises:
        ValueError: If the index and the vectors do not fit, or a width is less than 1.
    """

    #: Bound on (user, candidate) pairs scored at once.
    block_pairs = 4_000_000

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
        nodes = tuple(reversed(index.nodes_per_depth))  # coarsest first
        if beam_width == "full":
            widths = nodes
        elif isinstance(beam_width, int):
            widths = (beam_width,) * len(nodes)
        else:
            widths = tuple(beam_width)
        if len(widths) != len(nodes) or any(width < 1 for width in widths):
            raise ValueError(
                f"beam_width must be a positive integer, one per depth of {nodes}, or 'full'; "
                f"got {beam_width!r}"
            )
        self.widths = tuple(min(pair) for pair in zip(widths, nodes, strict=True))
        device = item_vectors.device
        self._vectors = [torch.from_numpy(v.copy()).to(device) for v in index.vectors]
        self._vectors.insert(0, item_vectors)  # by depth, items first
        self._children = [
            tuple(torch.from_numpy(a.copy()).to(device) for a in index.children(depth))
            for depth in range(1, index.depth + 1)
        ]

    def _search(
        self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        scores = users @ self._vectors[-1].T  # (B, K_L)
        self.scored += scores.numel()
        _, beam = top_k(scores, self.widths[0])
        for depth in range(len(self._children), 0, -1):
            scores, candidates = self._score_children(users, beam, depth)
            if depth > 1:
                kept, columns = top_k(scores, self.widths[len(self._children) - depth + 1])
                beam = torch.where(kept > -torch.inf, candidates.gather(1, columns), -1)
        scores = self._mask(scores, candidates, seen)
        values, columns = top_k(scores, k)
        return values, candidates.gather(1, columns)

    def _score_children(self, users: Tensor, beam: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Scores the children of the beam's depth-``depth`` nodes.

        Args:
            users: Shape (B, D).
            beam: Node ids, shape (B, W), -1 where there is none.
            depth: Their depth.

        Returns:
            Scores and ids of the children, each (B, longest list), ids ascending in every row and
            -inf / -1 beyond its end.
        """
        starts, members = self._children[depth - 1]
        present = beam >= 0
        nodes = beam.clamp_min(0)
        sizes = (starts[nodes + 1] - starts[nodes]) * present  # (B, W)
        counts = sizes.sum(1)
        width = int(counts.max())
        flat_sizes = sizes.flatten()
        total = int(flat_sizes.sum())
        row = torch.repeat_interleave(torch.arange(len(beam), device=beam.device), counts)
        within = torch.arange(total, device=beam.device) - torch.repeat_interleave(
            flat_sizes.cumsum(0) - flat_sizes, flat_sizes
        )
        child = members[torch.repeat_interleave(starts[nodes].flatten(), flat_sizes) + within]
        # Ascending ids in a row: a tie then goes to the smallest id, as in exact search.
        child = child[torch.argsort(row * (len(self._vectors[depth - 1]) + 1) + child)]
        column = torch.arange(total, device=beam.device) - (counts.cumsum(0) - counts)[row]
        scores = users.new_full((len(beam), width), -torch.inf)
        ids = torch.full((len(beam), width), -1, dtype=torch.int64, device=beam.device)
        ids[row, column] = child
        for part in torch.arange(total, device=beam.device).split(self.block_pairs):
            r, c = row[part], child[part]
            scores[r, column[part]] = (users[r] * self._vectors[depth - 1][c]).sum(1)
        self.scored += total
        return scores, ids

    def _mask(self, scores: Tensor, candidates: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        """Sets the seen items' scores to minus infinity."""
        rows, items = seen
        if len(rows):
            n_items = len(self.item_vectors)
            keys = torch.arange(len(scores), device=scores.device).unsqueeze(1) * n_items
            keys = keys + candidates.clamp_min(0)
            scores = scores.masked_fill(torch.isin(keys, rows * n_items + items), -torch.inf)
        return scores
