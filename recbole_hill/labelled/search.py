"""Search by the scores of a network: over every item, or down the index layer by layer."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from recbole_hill.retrieval.base import (
    distinct_pairs,
    leave_out,
    of_rows,
    short_lists,
    top_k,
)
from recbole_hill.retrieval.descent import places_of_children
from recbole_hill.retrieval.widths import beam_widths

#: Largest number of <user, node> pairs that a network scores at once.
BLOCK_PAIRS = 1 << 15


class NetworkSearch:
    """Finds the items that a network scores highest, for users given by their ids.

    A subclass implements ``_search``. This class excludes items, and orders and pads the lists, as
    :class:`~recbole_hill.retrieval.base.Retriever` does for users given by vectors.

    Args:
        n_layers: Number of networks.
        block: Number of users searched at once.

    Attributes:
        pairs: Number of <user, node or item> pairs scored so far by each layer's network, coarsest
            first.
        queries: Number of users searched for so far.
    """

    def __init__(self, n_layers: int, block: int):
        self.pairs, self.queries = [0] * n_layers, 0
        #: Number of users searched at once; it bounds the memory.
        self.block = max(1, block)

    @torch.no_grad()
    def search(
        self, users: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns each user's k best items that are not excluded.

        Args:
            users: User ids, shape (B,).
            k: List length, at least 1.
            exclude: Pair (rows, item ids), each (E,): item ``ids[e]`` is not returned for the user
                in row ``rows[e]``.

        Returns:
            Logits (B, k), descending, and item ids (B, k); ties are ordered by smallest id. Shorter
            lists are padded with -inf and -1.

        Raises:
            ValueError: If k is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        users = users.cpu()
        rows, items = (torch.empty(0, dtype=torch.int64),) * 2 if exclude is None else exclude
        scores = torch.full((len(users), k), -torch.inf)
        ids = torch.full((len(users), k), -1, dtype=torch.int64)
        for start in range(0, len(users), self.block):
            part = slice(start, start + self.block)
            own = (rows >= start) & (rows < start + self.block)
            logits, listed = self._search(users[part])
            logits, listed = logits.cpu(), listed.cpu()
            n_ids = 1 + int(max(listed.max(), items.max())) if len(items) else 0
            leave_out(logits, listed, (rows[own] - start, items[own]), n_ids)
            logits, listed = top_k(logits, k, listed)
            width = logits.shape[1]
            scores[part, :width] = logits
            ids[part, :width] = torch.where(logits > -torch.inf, listed, -1)
        self.queries += len(users)
        return scores, ids

    def _search(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Returns candidates' logits and ids, each (b, N); unfilled places have -inf."""
        raise NotImplementedError


class ExhaustiveSearch(NetworkSearch):
    """Scores every item.

    Args:
        model: A :class:`~recbole_hill.labelled.model.LabelledModel`.
    """

    def __init__(self, model):
        super().__init__(1, BLOCK_PAIRS // model.n_items)
        self.model = model

    def _search(self, users: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.model.all_logits(users)
        scores[:, ~self.model.alive] = -torch.inf  # padding, and items not served
        self.pairs[0] += len(users) * (self.model.n_items - 1)
        return scores, torch.arange(self.model.n_items).expand(len(users), -1)


class LayeredSearch(NetworkSearch):
    """HSNN's serving (arXiv 2408.06653, Algorithm 2), for many users at a time.

    The network of the coarsest layer scores all nodes of that layer. In each layer the best nodes
    are kept, and the next layer's network scores their children. The ensemble that scores a node
    also gets the logits of all nodes above it.

    A user whose list comes out too short, because most of these items are excluded, is searched for
    with twice as many nodes in every layer, and so on until all are kept.

    Args:
        model: An :class:`~recbole_hill.labelled.hsnn.HSNN` in evaluation mode, or the
            :class:`~recbole_hill.labelled.node_layers.NodeLayers` of one network.
        beam_width: Nodes kept per node layer: one number, one number per layer (coarsest first), or
            ``"full"``.
    """

    def __init__(self, model, beam_width: int | Sequence[int] | str):
        self.model, self.tables = model, model.tables()
        index = self.tables.index
        counts = tuple(reversed(index.nodes_per_depth))
        self.widths = beam_widths(beam_width, counts)
        lists = [index.children(depth) for depth in range(index.depth, 0, -1)]
        self._lists = [tuple(torch.from_numpy(part.copy()) for part in pair) for pair in lists]
        starts, members = self._lists[-1]
        self._lists[-1] = starts, model.alive_rows[members]
        most = max(
            int(torch.diff(starts).sort().values[-width:].sum())
            for (starts, _), width in zip(self._lists, self.widths, strict=True)
        )
        super().__init__(len(counts) + 1, BLOCK_PAIRS // max(counts[0], most))

    @torch.no_grad()
    def kept_nodes(self, users: Tensor) -> list[Tensor]:
        """Returns the nodes that are kept for the users, depth by depth, finest first.

        Args:
            users: User ids, shape (B,), at most :attr:`block` of them.

        Returns:
            Node ids of each depth, (B, at most the width), -1 where there is no node.
        """
        return self._descend(users.cpu())[2][::-1]

    @torch.no_grad()
    def search(
        self, users: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`NetworkSearch.search`."""
        scores, ids = super().search(users, k, exclude)
        alive = self.model.alive.cpu()
        rows, items = (torch.empty(0, dtype=torch.int64),) * 2 if exclude is None else exclude
        served = alive[items]
        excluded = distinct_pairs(rows[served], items[served], len(alive))
        short = short_lists(ids, int(alive.sum()), excluded[0])
        if len(short):
            before = list(self._wider.pairs)
            excluded = of_rows(excluded, short)
            scores[short], ids[short] = self._wider.search(users.cpu()[short], k, excluded)
            counts = zip(self.pairs, self._wider.pairs, before, strict=True)
            self.pairs = [own + now - then for own, now, then in counts]
        return scores, ids

    @cached_property
    def _wider(self) -> "LayeredSearch":
        """The search for users whose lists this search leaves too short."""
        return LayeredSearch(self.model, [2 * width for width in self.widths])

    def _search(self, users: Tensor) -> tuple[Tensor, Tensor]:
        scores, items, _ = self._descend(users)
        return scores, items

    def _descend(self, users: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Returns candidates' logits and ids, each (b, N), and the nodes kept, coarsest first."""
        model, beams = self.model, []
        vectors = model.user_vectors_of_layers(users)
        n_nodes = len(self._lists[0][0]) - 1
        nodes = torch.arange(n_nodes).expand(len(users), -1)
        filled = torch.ones(nodes.shape, dtype=torch.bool)
        above: list[Tensor] = []
        for layer in range(len(self.pairs)):
            own = model.layer_logits(layer, users, vectors[layer], nodes)
            self.pairs[layer] += int(filled.sum())
            per_layer = [*above, own]
            scores = model.ensemble(layer, per_layer)[..., 0].cpu().masked_fill(~filled, -torch.inf)
            if layer == len(self._lists):
                break
            kept, places = top_k(scores, self.widths[layer])
            beam = torch.where(kept > -torch.inf, nodes.gather(1, places), -1)
            beams.append(beam)
            starts, members = self._lists[layer]
            below, filled, of_beam = places_of_children(starts, beam)
            nodes = members[below]
            # Each child gets the logits of its parent.
            place_of_parent = places.gather(1, of_beam).to(own.device).unsqueeze(2)
            above = [
                part.gather(1, place_of_parent.expand(-1, -1, part.shape[2])) for part in per_layer
            ]
        return scores, nodes + 1, beams  # RecBole's item 0 is padding
