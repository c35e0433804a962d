"""Search of the depth-1 nodes' items by FAISS: an inverted file over the learned hierarchy."""

from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.host.optional import require_faiss
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import BLOCK_ENTRIES, Retriever, top_k
from recbole_hill.retrieval.descent import Descent, require_fit

PROBES = ("beam", "nodes")
#: What FAISS calls an id that it has not found.
_NONE = -1


class FaissRetriever(Retriever):
    """A FAISS index with one inverted list per depth-1 node, filled with the index's own items.

    FAISS only scans lists here: neither the nodes nor who belongs to them are learned again. It
    scans on the CPU, whatever device the vectors are on.

    Ties at the end of a list are broken like everywhere (smallest id), for which a list whose end
    FAISS may have cut among equal scores is fetched again, longer. That counts as scored again.

    Args:
        index: The index; row r of ``item_vectors`` is its item r.
        item_vectors: Shape (I, D).
        item_ids: The id of each row, ascending; the row itself if None.
        probe: Who picks the lists. ``beam``: our search down the depths, so that the candidates are
            those of :class:`~recbole_hill.retrieval.beam.BeamRetriever`. ``nodes``: FAISS itself,
            which scores every depth-1 node and knows no other depth, as plain ``search`` does.
        beam_width, node_score: For ``beam``: as for ``BeamRetriever``.
        n_probe: For ``nodes``: lists per user; more than there are means all.

    Attributes:
        faiss_index: The ``IndexIVFFlat`` (inner product), whose ids are item rows. Written by
            ``faiss.write_index``, it can be read and searched without this package; its ``nprobe``
            is the number of lists that this retriever scans per user.

    Raises:
        ValueError: If the index and the vectors do not fit, or the probe or its width is not one.
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

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        device, n_items = users.device, len(self.item_vectors)
        lists = self._lists(users)
        users, seen = users.cpu(), tuple(part.cpu() for part in seen)
        counts = torch.bincount(seen[0], minlength=len(users))
        k = min(k, n_items)
        found = torch.empty(len(users), k), torch.empty(len(users), k, dtype=torch.int64)
        to_do = list(_fetches(counts, k, n_items))
        while to_do:
            rows, length = to_do.pop()
            scores, items = self._scan(users[rows], None if lists is None else lists[rows], length)
            last = scores[:, -1].clone()
            best = top_k(self._mask(scores, items, _of_rows(seen, rows, len(users))), k, items)
            for whole, part in zip(found, best, strict=True):
                whole[rows] = part
            # Items as good as the last that was kept may be among those not fetched.
            cut = rows[(best[0][:, -1] == last) & (last > -torch.inf)]
            if len(cut) and length < n_items:
                to_do.append((cut, min(4 * length, n_items)))
        return found[0].to(device), found[1].to(device)

    def _lists(self, users: Tensor) -> Tensor | None:
        """Returns the depth-1 nodes whose items are to be scored, (B, nprobe), -1 for none.

        None where FAISS is to pick them itself, which it does for several users at a time.
        """
        width, n_nodes = self.faiss_index.nprobe, len(self._sizes)
        beam = None
        if self._descent is not None:
            beam, scored = self._descent.nodes(users)
            self.scored += scored
        elif width < n_nodes:
            return None
        if beam is None:  # all of them: there is nothing to choose
            return torch.arange(n_nodes).expand(len(users), -1)
        # A path of small nodes may hold fewer than the width.
        return torch.nn.functional.pad(beam.cpu(), (0, width - beam.shape[1]), value=_NONE)

    def _scan(self, users: Tensor, lists: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Lets FAISS search the users' lists.

        Args:
            users: Shape (B, D).
            lists: Shape (B, nprobe), -1 for none; FAISS's own choice if None.
            length: How many items to fetch per user.

        Returns:
            Scores, descending, and item rows, each (B, length), filled up with -inf and -1.
        """
        users = np.ascontiguousarray(users.numpy())
        if lists is None:
            statistics = require_faiss("retrieval: faiss").cvar.indexIVF_stats
            before = statistics.ndis
            found = self.faiss_index.search(users, length)
            self.scored += len(users) * len(self._sizes) + statistics.ndis - before
        else:
            from faiss.contrib.ivf_tools import search_preassigned

            lists_ = np.ascontiguousarray(lists.numpy())
            found = search_preassigned(self.faiss_index, users, length, lists_)
            self.scored += int((self._sizes[lists.clamp_min(0)] * (lists != _NONE)).sum())
        scores, items = (torch.from_numpy(part) for part in found)
        return scores.masked_fill_(items == _NONE, -torch.inf), items


def inverted_file(index: HierarchicalIndex, item_vectors: np.ndarray):
    """Returns a FAISS ``IndexIVFFlat`` by inner product over the index's depth-1 nodes.

    Args:
        index: Its nodes are the centroids, its assignments of the items the lists.
        item_vectors: Shape (I, D), float32; the ids in FAISS are their rows.

    Raises:
        ValueError: If the index and the vectors do not fit.
        ImportError: If FAISS is not installed.
    """
    require_fit(index, item_vectors)
    faiss = require_faiss("retrieval: faiss")
    from faiss.contrib.ivf_tools import add_preassigned

    n_items, dim = item_vectors.shape
    quantizer = faiss.IndexFlatIP(dim)
    quantizer.add(np.ascontiguousarray(index.vectors[0]))
    # A quantizer that holds its nodes already makes a trained index; `train` would move them.
    built = faiss.IndexIVFFlat(quantizer, dim, len(index.vectors[0]), faiss.METRIC_INNER_PRODUCT)
    # FAISS takes raw pointers of these: the names keep the arrays alive until the call is over.
    vectors = np.ascontiguousarray(item_vectors)
    nodes = np.ascontiguousarray(index.parents[0], dtype=np.int64)
    ids = np.arange(n_items, dtype=np.int64)
    add_preassigned(built, vectors, nodes, ids)
    return built


def _fetches(counts: Tensor, k: int, n_items: int) -> Iterator[tuple[Tensor, int]]:
    """Groups users by how many items they have seen, and says how many to fetch for each group.

    One call of FAISS fetches equally many for all its users. Within a group the numbers of seen
    items differ at most by a factor of two, so that one long history does not make everybody fetch
    as many; and a group is cut where the fetched would not fit the memory.

    Args:
        counts: Seen items per user, shape (B,).
        k: List length.
        n_items: I.

    Yields:
        Rows of users and how many items to fetch for each: k unseen ones are among them, and one
        more shows whether the k-th is a tie.
    """
    groups = torch.frexp(counts.float()).exponent  # 0 for none, n for 2^(n-1) .. 2^n - 1
    for group in groups.unique():
        rows = (groups == group).nonzero().flatten()
        length = min(k + int(counts[rows].max()) + 1, n_items)
        for part in rows.split(max(1, BLOCK_ENTRIES // length)):
            yield part, length


def _of_rows(seen: tuple[Tensor, Tensor], rows: Tensor, n_users: int) -> tuple[Tensor, Tensor]:
    """Returns the seen pairs of some users, counted as the users are in ``rows``."""
    place = torch.full((n_users,), -1)
    place[rows] = torch.arange(len(rows))
    users = place[seen[0]]
    return users[users >= 0], seen[1][users >= 0]
