"""The descent through the hierarchical index that retrievers share: from users to depth-1 nodes.

Depth 1 is the nodes just above the items, depth L the coarsest nodes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.data.ragged import ranges
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_scores import lead_of_best
from recbole_hill.retrieval.base import BLOCK_ENTRIES, top_k
from recbole_hill.retrieval.widths import NODE_SCORES, beam_widths, require_fit

#: If more than this share of a depth's nodes may be kept, the whole depth below is scored by one
#: matrix product. That takes a tenth of the time of gathering the candidates user by user, so that
#: it is faster for every share above a half. Below a half, gathering computes far fewer inner
#: products.
GATHERED_SHARE = 0.5


class Children:
    """The children of the nodes of one depth, with their vectors.

    Args:
        starts: The children of node n are ``members[starts[n]:starts[n + 1]]``, shape (K + 1,).
        members: Ids at the depth below, shape (N,).
        vectors: Vectors at the depth below, by id, shape (N, D).
        n_kept: Largest number of nodes per user whose children will be scored.

    Attributes:
        most: Largest number of children that ``n_kept`` nodes have.
        entries: Number of entries of the largest array that scoring makes for one user.
    """

    def __init__(self, starts: np.ndarray, members: np.ndarray, vectors: Tensor, n_kept: int):
        self.starts, self.members = (
            torch.from_numpy(array.copy()).to(vectors.device) for array in (starts, members)
        )
        # Vectors in the order of the lists: a node's children are read from one stretch of memory.
        self.vectors = vectors[self.members]
        sizes = torch.diff(self.starts)
        #: The node of each child, in the order of the lists.
        self._parents = torch.repeat_interleave(sizes)
        self.most = int(sizes.sort().values[-n_kept:].sum())
        self._all = n_kept > GATHERED_SHARE * len(sizes)
        self.entries = len(members) if self._all else self.most * vectors.shape[1]

    def score(self, users: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, int]:
        """Scores all children of each user's nodes.

        Args:
            users: User vectors, shape (B, D).
            beam: Node ids, shape (B, W), -1 where there is no node.

        Returns:
            Scores and ids of the children, each (B, N) for some N, with -inf at unfilled places;
            and the number of computed inner products.
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
        # The user is on the left, because PyTorch's batched product of a matrix and a column is
        # many times slower on a CPU.
        scores = torch.bmm(users.unsqueeze(1), vectors.transpose(1, 2)).squeeze(1)
        ids = self.members[places].masked_fill_(~filled, -1)
        return scores.masked_fill_(~filled, -torch.inf), ids, int(filled.sum())


def places_of_children(starts: Tensor, beam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the places of the children of each user's nodes in the lists of children.

    Args:
        starts: The children of node n are at the places ``starts[n]`` to ``starts[n + 1]``, shape
            (K + 1,).
        beam: Node ids, shape (B, W), -1 where there is no node.

    Returns:
        Three arrays of shape (B, N), where N is the largest number of children of a user's nodes:
        the places; whether each place is filled; and the position in the beam of each child's node.
        The last is 0 where a place is not filled.
    """
    nodes = beam.clamp_min(0)
    first = starts[nodes]
    sizes = (starts[nodes + 1] - first) * (beam >= 0)  # (B, W)
    lengths = sizes.sum(1)
    flat = sizes.flatten()
    places = ranges(first.flatten(), flat)  # all children, one after the other
    of_beam = torch.arange(beam.shape[1], device=beam.device).repeat(len(beam))
    filled = torch.arange(int(lengths.max()), device=beam.device) < lengths.unsqueeze(1)
    padded = torch.zeros(2, *filled.shape, dtype=torch.int64, device=beam.device)
    padded[0].masked_scatter_(filled, places)
    padded[1].masked_scatter_(filled, of_beam.repeat_interleave(flat))
    return padded[0], filled, padded[1]


class Descent:
    """Keeps the best nodes of the coarsest depth, then of their children, down to depth 1.

    A node is a candidate only if all nodes above it were kept; the lists of children are those of
    the index. A depth at which every node is kept is not scored, because there is no choice. Where
    more than half of a depth's nodes may be kept, all nodes below are scored by one matrix product.

    Args:
        index: The index.
        item_vectors: Shape (I, D); row r is item r of the index. The nodes are moved to the device
            of these vectors.
        beam_width: Nodes kept per user: one number for all depths, one per depth (finest first), or
            ``"full"`` to keep all. A number above the number of nodes means all.
        node_score: ``mean``: the score of a node is the mean score of its items. ``best``: the
            expected score of its best item (``lead_of_best``). The score is then still an inner
            product, with one more dimension: the user's length times the node's lead.

    Raises:
        ValueError: If the index and the vectors do not fit, a width is less than 1, or
            ``node_score`` is unknown.
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
        #: The children of the nodes at depths L, ..., 2.
        self._children = []
        #: Largest number of depth-1 nodes that a user's descent can reach.
        self.n_kept = self.widths[0]
        for depth in range(index.depth, 1, -1):
            below = Children(*index.children(depth), nodes[depth - 2], self.n_kept)
            self._children.append(below)
            self.n_kept = min(self.widths[index.depth - depth + 1], below.most)
        #: Number of users whose descent is computed at once; it bounds the memory.
        self.block = min(
            (self.fitting(children, level) for level, children in enumerate(self._children)),
            default=BLOCK_ENTRIES,
        )

    def fitting(self, children: Children, level: int) -> int:
        """Returns for how many users at once the children of the kept nodes can be scored.

        Args:
            children: Children of the nodes of the level.
            level: Position in ``widths``: 0 for depth L, L - 1 for depth 1.
        """
        counts = [len(nodes) for nodes in self._coarsest_first[: level + 1]]
        if self.widths[: level + 1] == tuple(counts):  # all are kept: no children are scored
            return BLOCK_ENTRIES
        return max(1, BLOCK_ENTRIES // children.entries)

    def nodes(self, users: Tensor) -> tuple[Tensor | None, int]:
        """Returns each user's depth-1 nodes.

        Args:
            users: User vectors, shape (B, D).

        Returns:
            Node ids (B, at most the width), best first, -1 where there is no node; None if every
            node of every depth is kept. And the number of computed inner products.
        """
        beams, counts = zip(*self.levels(users), strict=True)
        return beams[-1], sum(counts)

    def levels(self, users: Tensor) -> Iterator[tuple[Tensor | None, int]]:
        """Yields each user's nodes depth by depth, the coarsest first.

        Args:
            users: User vectors, shape (B, D).

        Yields:
            As :meth:`nodes` returns them; None where every node of this depth and of all coarser
            depths is kept.
        """
        if self._by_best:
            users = torch.cat((users, users.norm(dim=1, keepdim=True)), 1)
        beam = None
        for level, width in enumerate(self.widths):
            count = 0
            if beam is not None:
                scores, nodes, count = self._children[level - 1].score(users, beam)
                kept, beam = top_k(scores, width, nodes)
                beam = torch.where(kept > -torch.inf, beam, -1)
            elif width < len(self._coarsest_first[level]):
                scores = users @ self._coarsest_first[level].T  # (B, K_depth)
                beam = top_k(scores, width)[1]
                count = scores.numel()
            yield beam, count
