"""The way down the hierarchical index that the retrievers share: users to depth-1 nodes."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.data.ragged import ranges
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_scores import lead_of_best
from recbole_hill.retrieval.base import BLOCK_ENTRIES, top_k

#: Where a user's candidates may be more than this share of a depth, all of it is scored by one
#: matrix product. That takes a tenth of the time of gathering them user by user, so there is no
#: doubt beyond a half; below, gathering computes far fewer inner products.
GATHERED_SHARE = 0.5
NODE_SCORES = ("mean", "best")


class Children:
    """The children of the nodes of one depth, with their vectors.

    Args:
        starts: Node n's children are ``members[starts[n]:starts[n + 1]]``, shape (K + 1,).
        members: Ids of the depth below, shape (N,).
        vectors: Vectors of the depth below by id, shape (N, D).
        n_kept: How many nodes of a user will be asked for, at most.

    Attributes:
        most: The most children that as many nodes have.
        entries: Entries of the largest array that scoring makes for one user.
    """

    def __init__(self, starts: np.ndarray, members: np.ndarray, vectors: Tensor, n_kept: int):
        self.starts, self.members = (
            torch.from_numpy(array.copy()).to(vectors.device) for array in (starts, members)
        )
        # In the order of the lists: a node's children are read from one stretch of memory.
        self.vectors = vectors[self.members]
        sizes = torch.diff(self.starts)
        #: The node of each child, in the order of the lists.
        self._parents = torch.arange(len(sizes), device=vectors.device).repeat_interleave(sizes)
        self.most = int(sizes.sort().values[-n_kept:].sum())
        self._all = self.most > GATHERED_SHARE * len(members)
        self.entries = len(members) if self._all else self.most * vectors.shape[1]

    def score(self, users: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, int]:
        """Scores all children of each user's nodes.

        Args:
            users: Shape (B, D).
            beam: Node ids, shape (B, W), -1 where there is none.

        Returns:
            Scores and ids of the children, each (B, N) for some N, with -inf where a place is
            unfilled, and the number of inner products that were computed.
        """
        return self._score_all(users, beam) if self._all else self._gather(users, beam)

    def _score_all(self, users: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, int]:
        n_nodes = len(self.starts) - 1
        kept = torch.zeros(len(beam), n_nodes + 1, dtype=torch.bool, device=beam.device)
        kept.scatter_(1, torch.where(beam >= 0, beam, n_nodes), True)
        scores = users @ self.vectors.T  # (B, N)
        scores.masked_fill_(~kept.index_select(1, self._parents), -torch.inf)
        return scores, self.members.expand(len(users), -1), scores.numel()

    def _gather(self, users: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, int]:
        places, filled, _ = places_of_children(self.starts, beam)
        vectors = self.vectors.index_select(0, places.flatten()).view(*places.shape, -1)
        # The user on the left: PyTorch's batched product of a matrix and a column is many times
        # slower on a CPU.
        scores = torch.bmm(users.unsqueeze(1), vectors.transpose(1, 2)).squeeze(1)
        ids = self.members[places].masked_fill_(~filled, -1)
        return scores.masked_fill_(~filled, -torch.inf), ids, int(filled.sum())


def places_of_children(starts: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns where the children of each user's nodes stand in the lists.

    Args:
        starts: Node n's children stand at ``starts[n]`` to ``starts[n + 1]``, shape (K + 1,).
        beam: Node ids, shape (B, W), -1 where there is none.

    Returns:
        Places (B, N), N the most children that a user's nodes have; which of them are filled; and
        the place in the beam of each child's node. The last is 0 where nothing is filled.
    """
    nodes = beam.clamp_min(0)
    first = starts[nodes]
    sizes = (starts[nodes + 1] - first) * (beam >= 0)  # (B, W)
    lengths = sizes.sum(1)
    flat = sizes.flatten()
    places = ranges(first.flatten(), flat)  # all children one after the other
    of_beam = torch.arange(beam.shape[1], device=beam.device).repeat(len(beam))
    filled = torch.arange(int(lengths.max()), device=beam.device) < lengths.unsqueeze(1)
    padded = torch.zeros(2, *filled.shape, dtype=torch.int64, device=beam.device)
    padded[0].masked_scatter_(filled, places)
    padded[1].masked_scatter_(filled, of_beam.repeat_interleave(flat))
    return padded[0], filled, padded[1]


class Descent:
    """Keeps the best nodes of the coarsest depth, then of their children, down to depth 1.

    Every parent -> child list is the index's own: a node is a candidate only if all nodes above it
    were kept. Depths at which every node is kept are not scored, since there is nothing to choose;
    where most children of a depth may be wanted, all are scored by one matrix product.

    Args:
        index: The index.
        item_vectors: Shape (I, D); row r is the index's item r. The nodes go to their device.
        beam_width: Nodes kept per user: one number for all depths, one per depth (finest first),
            or ``"full"`` to keep all. More than there are means all.
        node_score: ``mean``: a node scores what its items score on average. ``best``: what the best
            of them is expected to (``lead_of_best``). It is still an
            inner product, with one dimension more: the user's length times the node's lead.

    Raises:
        ValueError: If the index and the vectors do not fit, a width is less than 1, or
            ``node_score`` is neither.
    """

    def __init__(
        self,
        index: HierarchicalIndex,
        item_vectors: Tensor,
        beam_width: int | Sequence[int] | str,
        node_score: str = "mean",
    ):
        require_fit(index, item_vectors)
        self._by_best = one_of("node_score", node_score, NODE_SCORES) == "best"
        #: Nodes kept at each depth, coarsest first.
        self.widths = beam_widths(beam_width, index.nodes_per_depth)[::-1]  # coarsest first
        vectors = index.vectors
        if self._by_best:
            leads = lead_of_best(index, item_vectors.cpu().numpy())
            vectors = [np.column_stack(pair) for pair in zip(vectors, leads, strict=True)]
        nodes = [torch.from_numpy(v.copy()).to(item_vectors.device) for v in vectors]
        self._coarsest_first = nodes[::-1]
        #: The nodes of depths L, ..., 2 as lists of children.
        self._children = []
        #: The most depth-1 nodes that a user can come down to.
        self.n_kept = self.widths[0]
        for depth in range(index.depth, 1, -1):
            below = Children(*index.children(depth), nodes[depth - 2], self.n_kept)
            self._children.append(below)
            self.n_kept = min(self.widths[index.depth - depth + 1], below.most)
        #: Users that can go down at once, which bounds the memory.
        self.block = min(
            (self.fitting(children, level) for level, children in enumerate(self._children)),
            default=BLOCK_ENTRIES,
        )

    def fitting(self, children: Children, level: int) -> int:
        """Returns how many users' children of the nodes kept can be scored at once.

        Args:
            children: Those of the level's nodes.
            level: Place in ``widths``: 0 for depth L, L - 1 for depth 1.
        """
        counts = [len(nodes) for nodes in self._coarsest_first[: level + 1]]
        if self.widths[: level + 1] == tuple(counts):  # all are kept: their children are not scored
            return BLOCK_ENTRIES
        return max(1, BLOCK_ENTRIES // children.entries)

    def nodes(self, users: Tensor) -> tuple[Tensor | None, int]:
        """Returns each user's depth-1 nodes.

        Args:
            users: Shape (B, D).

        Returns:
            Node ids (B, at most the width), -1 where there is none, best first, or None if every
            node of every depth is kept; and the number of inner products.
        """
        if self._by_best:
            users = torch.cat((users, users.norm(dim=1, keepdim=True)), 1)
        beam, scored = None, 0
        for level, width in enumerate(self.widths):
            if beam is not None:
                scores, nodes, count = self._children[level - 1].score(users, beam)
                kept, beam = top_k(scores, width, nodes)
                beam = torch.where(kept > -torch.inf, beam, -1)
                scored += count
            elif width < len(self._coarsest_first[level]):
                scores = users @ self._coarsest_first[level].T  # (B, K_depth)
                beam = top_k(scores, width)[1]
                scored += scores.numel()
        return beam, scored


def require_fit(index: HierarchicalIndex, item_vectors: Tensor) -> None:
    """Refuses an index over other items, or over vectors of another model.

    Raises:
        ValueError: Naming both sizes.
    """
    if index.n_items != len(item_vectors):
        raise ValueError(f"the index holds {index.n_items} items, the vectors {len(item_vectors)}")
    width = index.vectors[0].shape[1]
    if width != item_vectors.shape[1]:
        raise ValueError(
            f"the index's node vectors are {width} wide, the item vectors {item_vectors.shape[1]}: "
            f"the index is another model's"
        )


def beam_widths(beam_width: int | Sequence[int] | str, nodes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the nodes kept per depth, at most those that there are.

    Args:
        beam_width: As for :class:`Descent`.
        nodes: Nodes per depth, coarsest first, K_L, ..., K_1.

    Raises:
        ValueError: If it is neither ``"full"`` nor a positive integer, nor one per depth.
    """
    if beam_width == "full":
        return nodes
    widths = (beam_width,) * len(nodes) if isinstance(beam_width, Integral) else beam_width
    if (
        not isinstance(widths, Sequence)
        or len(widths) != len(nodes)
        or any(isinstance(w, bool) or not isinstance(w, Integral) or w < 1 for w in widths)
    ):
        raise ValueError(
            f"beam_width must be a positive integer, one per depth of {nodes}, or 'full'; "
            f"got {beam_width!r}"
        )
    return tuple(min(pair) for pair in zip(widths, nodes, strict=True))
