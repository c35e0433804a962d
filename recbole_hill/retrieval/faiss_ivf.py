"""Search among the items of depth-1 nodes by FAISS: an inverted file over the learned hierarchy.

Depth 1 is the nodes just above the items.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.host.optional import require_faiss
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import BLOCK_ENTRIES, Retriever, of_rows, top_k
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.descent import Descent
from recbole_hill.retrieval.inverted_file import inverted_file
from recbole_hill.retrieval.widths import require_fit

PROBES = ("beam", "nodes")
#: FAISS's id for a place where it found no item.
_NONE = -1


class FaissRetriever(Retriever):
    """A FAISS index with one inverted list per depth-1 node, which contains the node's items.

    FAISS only scans lists here. It learns neither the nodes nor the assignment of items to nodes.
    It scans on the CPU, also if the vectors are on another device.

    Ties at the end of a list are broken as everywhere (smallest id). If FAISS may have cut a list
    among equal scores, the list is fetched again with a greater length. The second fetch counts as
    scored again. A user whose list comes out too short is searched for by a
    :class:`~recbole_hill.retrieval.beam.BeamRetriever` with twice as many nodes.

    Args:
        index: The index; row r of ``item_vectors`` is its item r.
        item_vectors: Shape (I, D).
        item_ids: Id of each row, ascending, shape (I,); the row number if None.
        probe: How the lists are chosen. ``beam``: by our descent through the depths; the candidates
            are those of :class:`~recbole_hill.retrieval.beam.BeamRetriever`. ``nodes``: by FAISS,
            which scores every depth-1 node and uses no other depth, as in plain ``search``.
        beam_width, node_score: For ``beam``, as in ``BeamRetriever``.
        n_probe: For ``nodes``, the number of lists per user; a number above the number of nodes
            means all.

    Attributes:
        faiss_index: The ``IndexIVFFlat`` (inner product), whose ids are item rows. After
            ``faiss.write_index`` it can be read and searched without this package. Its ``nprobe``
            is the number of lists that this retriever scans per user.

    Raises:
        ValueError: If the index and the vectors do not fit, or the probe or its width is not valid.
        ImportError: If FAISS is not installed.
    """

    def __init__(
        self,
        index: HierarchicalIndex,
        item_vectors: Tensor,
        item_ids: Tensor | None = None,
        *,
        probe: str = "beam",
        beam_width: int | Sequence[int] | str | None = None,
        node_score: str = "mean",
        n_probe: int | None = None,
    ):
        super().__init__(item_vectors, item_ids)
        self._index, self._node_score = index, node_score
        require_fit(index, self.item_vectors)
        n_nodes = index.nodes_per_depth[0]
        self.block = max(1, BLOCK_ENTRIES // max(index.nodes_per_depth))
        self._descent = None
        if one_of("probe", probe, PROBES) == "beam":
            self._descent = Descent(index, self.item_vectors, beam_width, node_score)
            self.block = min(self.block, self._descent.block)
            n_probe = self._descent.widths[-1]
        elif not isinstance(n_probe, Integral) or n_probe < 1:
            raise ValueError(f"n_probe must be a positive integer, got {n_probe!r}")
        self._sizes = torch.from_numpy(np.bincount(index.parents[0]))
        self.faiss_index = inverted_file(index, self.item_vectors.cpu().numpy())
        self.faiss_index.nprobe = min(n_probe, n_nodes)

    @cached_property
    def _wider(self) -> BeamRetriever:
        if self._descent is None:
            widths = [self.faiss_index.nprobe, *self._index.nodes_per_depth[1:]]
        else:
            widths = reversed(self._descent.widths)
        parts = self._index, self.item_vectors, self.item_ids
        widths = [2 * width for width in widths]
        return BeamRetriever(*parts, beam_width=widths, node_score=self._node_score)

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        device, n_items = users.device, len(self.item_vectors)
        lists = self._lists(users)
        users, seen = users.cpu(), tuple(part.cpu() for part in seen)
        counts = torch.bincount(seen[0], minlength=len(users))
        k = min(k, n_items)
        results = torch.empty(len(users), k), torch.empty(len(users), k, dtype=torch.int64)
        to_do = list(_fetches(counts, k, n_items))
        while to_do:
            rows, length = to_do.pop()
            scores, items = self._scan(users[rows], None if lists is None else lists[rows], length)
            last = scores[:, -1].clone()
            best = top_k(self._mask(scores, items, of_rows(seen, rows)), k, items)
            for whole, part in zip(results, best, strict=True):
                whole[rows] = part
            # Items with the same score as the last kept item may be among the items that were not
            # fetched.
            cut = rows[(best[0][:, -1] == last) & (last > -torch.inf)]
            if len(cut) and length < n_items:
                to_do.append((cut, min(4 * length, n_items)))
        return results[0].to(device), results[1].to(device)

    def _lists(self, users: Tensor) -> Tensor | None:
        """Returns the depth-1 nodes whose items are to be scored, (B, nprobe), -1 for no node.

        Returns None if FAISS is to choose the nodes; it does so for several users at once.
        """
        width, n_nodes = self.faiss_index.nprobe, len(self._sizes)
        beam = None
        if self._descent is not None:
            beam, scored = self._descent.nodes(users)
            self.scored += scored
            self.scored_nodes += scored
        elif width < n_nodes:
            return None
        if beam is None:  # all nodes are kept: there is no choice
            return torch.arange(n_nodes).expand(len(users), -1)
        # A path through nodes with few children may reach fewer nodes than the width.
        return torch.nn.functional.pad(beam.cpu(), (0, width - beam.shape[1]), value=_NONE)

    def _scan(self, users: Tensor, lists: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Lets FAISS search the users' lists.

        Args:
            users: User vectors, shape (B, D).
            lists: Depth-1 nodes, shape (B, nprobe), -1 for no node; None lets FAISS choose.
            length: Number of items to fetch per user.

        Returns:
            Scores, descending, and item rows, each (B, length), padded with -inf and -1.
        """
        users = np.ascontiguousarray(users.numpy())
        if lists is None:
            statistics = require_faiss("retrieval: faiss").cvar.indexIVF_stats
            before = statistics.ndis
            fetched = self.faiss_index.search(users, length)
            self.scored += len(users) * len(self._sizes) + statistics.ndis - before
            self.scored_nodes += len(users) * len(self._sizes)
        else:
            from faiss.contrib.ivf_tools import search_preassigned

            lists_ = np.ascontiguousarray(lists.numpy())
            fetched = search_preassigned(self.faiss_index, users, length, lists_)
            self.scored += int((self._sizes[lists.clamp_min(0)] * (lists != _NONE)).sum())
        scores, items = (torch.from_numpy(part) for part in fetched)
        return scores.masked_fill_(items == _NONE, -torch.inf), items


def _fetches(counts: Tensor, k: int, n_items: int) -> Iterator[tuple[Tensor, int]]:
    """Groups users by their number of seen items, and yields how many items to fetch per group.

    One call of FAISS fetches the same number of items for all its users. Within a group, the
    numbers of seen items differ by at most a factor of two, so that one long history does not
    lengthen all fetches. A group whose fetched items would not fit the memory is split.

    Args:
        counts: Number of seen items per user, shape (B,).
        k: List length.
        n_items: I.

    Yields:
        User rows, and the number of items to fetch for each user. The fetched items contain k
        unseen items, and one more that shows whether the k-th is a tie.
    """
    groups = torch.frexp(counts.float()).exponent  # 0 for none, n for 2^(n-1) .. 2^n - 1
    for group in groups.unique():
        rows = (groups == group).nonzero().flatten()
        length = min(k + int(counts[rows].max()) + 1, n_items)
        for part in rows.split(max(1, BLOCK_ENTRIES // length)):
            yield part, length
