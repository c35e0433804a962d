"""Index nodes as virtual items of the backbone: test-time training by the backbone's own loss.

The paper (HILL, section 3.6) calls the nodes of a user's pairs "virtual nodes", and the pairs "new
data pairs" that "follow the original loss". So a node is one more item here. It has a row of its
own in the item table, which starts from its members' rows. A pair is one more interaction of its
user: a row of the training data, an edge of the graph, or both. A node may also have edges to its
member items.

After training the virtual items are folded away: the user vectors and the vectors of the real items
are kept, and nothing else.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import sparse as sp
from torch import Tensor, nn

from recbole_hill.adapt.pairs import Pairs
from recbole_hill.data.sampling import InteractionSampler
from recbole_hill.data.virtual_items import GraphWithVirtualItems, with_virtual_items
from recbole_hill.index.node_vectors import NodeVectors
from recbole_hill.model.backbone import user_item_embeddings
from recbole_hill.model.bases.fit_once import train_matrix


class VirtualItems(nn.Module):
    """A copy of a trained backbone with virtual items; its vectors are those of the real items.

    Args:
        backbone: The trained backbone. It is not changed.
        config: The run's configuration.
        dataset: RecBole's train set.
        pairs: The <user, node> pairs.
        nodes: The index's nodes.
        rows: Whether the pairs are rows of the training data.
        edges: Whether the pairs are edges of the graph.
        members: Whether nodes also have edges to their member items, if pairs are edges.
        keep_normalisation: Whether the weights of the graph's other edges stay as they were.
        node_vectors: Where the row of a virtual item starts: ``members`` (the mean of its members'
            rows), ``frozen`` (there, and it stays there) or ``representative`` (the row of its
            representative item).

    Attributes:
        data: The train set from which the copy learns; without pairs if they are edges alone.
        extended: Names of the weights that have rows of virtual items, after all other rows.
    """

    def __init__(
        self,
        backbone: nn.Module,
        config,
        dataset,
        pairs: Pairs,
        nodes: NodeVectors,
        *,
        rows: bool,
        edges: bool,
        members: bool,
        keep_normalisation: bool,
        node_vectors: str,
    ):
        super().__init__()
        depths = sorted(set(pairs.depths.tolist()))
        first, self.n_items = {}, dataset.item_num  # first: id of each depth's first node
        last = self.n_items
        for depth in depths:
            first[depth], last = last, last + nodes.count(depth)
        n_virtual = self.n_virtual = last - self.n_items
        items = pairs.nodes + np.array([first[depth] for depth in pairs.depths], dtype=np.int64)
        extended = with_virtual_items(dataset, n_virtual, pairs.users, items)
        alone = with_virtual_items(dataset, n_virtual, pairs.users[:0], items[:0])
        self.data = extended if rows else dataset
        self.backbone = type(backbone)(config, extended if edges else alone)
        drawn_from = extended if rows else alone
        if isinstance(getattr(self.backbone, "sampler", None), InteractionSampler):
            self.backbone.sampler = InteractionSampler(train_matrix(drawn_from))
        if getattr(self.backbone, "popularity", None) is not None:
            self.backbone.popularity = self.backbone.popularity_in(drawn_from)
        if edges and (keep_normalisation or members):
            self.backbone.graph = GraphWithVirtualItems(
                train_matrix(extended),
                n_virtual,
                keep_weights=keep_normalisation,
                members=_members(nodes, first, last) if members else None,
            )
        self.backbone.to(backbone.device)
        self._take_weights(backbone, nodes, first, n_virtual, node_vectors)

    @torch.no_grad()
    def _take_weights(
        self, backbone, nodes: NodeVectors, depths: Iterable[int], n_virtual: int, kind: str
    ) -> None:
        """Copies the backbone's weights; rows of virtual items start from members' rows.

        Raises:
            ValueError: If a weight has another shape in the copy for another reason.
        """
        known, longer = backbone.state_dict(), self.backbone.state_dict()
        self.extended = [name for name in longer if longer[name].shape != known[name].shape]
        for name, value in longer.items():
            old = known[name]
            if name not in self.extended:
                value.copy_(old)
                continue
            if value.shape != (len(old) + n_virtual, *old.shape[1:]):
                raise ValueError(
                    f"pair_form: {name} of {type(backbone).__name__} is {tuple(old.shape)}, and "
                    f"{tuple(value.shape)} with {n_virtual} virtual items; accepted are backbones "
                    "whose tables have a row per item"
                )
            value[: len(old)] = old
            of_items = old[-self.n_items :].reshape(self.n_items, -1)
            start = "members" if kind == "frozen" else kind
            rows = torch.cat([nodes.all(start, depth, of_items) for depth in depths])
            value[len(old) :] = rows.reshape(n_virtual, *old.shape[1:])
        if kind == "frozen":
            for name, weight in self.backbone.named_parameters():
                if name in self.extended:
                    weight.register_hook(_of_first_rows(len(known[name])))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors of users and of real items, (U + 1, D) and (I + 1, D)."""
        users, items = user_item_embeddings(self.backbone)
        return users, items[: self.n_items]

    def real_weights(self) -> dict[str, Tensor]:
        """Returns a copy of the weights without the rows of virtual items.

        They fit the backbone from which this copy was made, and a further copy of it.
        """
        weights = self.backbone.state_dict()
        rows = {name: len(weights[name]) - self.n_virtual for name in self.extended}
        return {name: value[: rows.get(name)].clone() for name, value in weights.items()}

    def calculate_loss(self, interaction) -> Tensor:
        """The backbone's own loss on a batch whose items may be virtual."""
        return self.backbone.calculate_loss(interaction)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the backbone which of its epochs starts."""
        if hasattr(self.backbone, "begin_epoch"):
            self.backbone.begin_epoch(epoch)


def _members(nodes: NodeVectors, first: dict[int, int], n: int) -> sp.csr_matrix:
    """Returns the edges between items and the virtual items of their nodes.

    Args:
        nodes: The index's nodes.
        first: Id of each depth's first virtual item.
        n: Number of items, virtual ones and the padding item included.

    Returns:
        Ones, shape (n, n).
    """
    items = torch.arange(1, min(first.values()))
    parts = [(items, nodes.of_items(items, depth).cpu() + id_) for depth, id_ in first.items()]
    row, col = (torch.cat(ids).numpy() for ids in zip(*parts, strict=True))
    return sp.csr_matrix((np.ones(len(row)), (row, col)), shape=(n, n))


def _of_first_rows(n: int):
    """Returns a function of a table's gradient that sets it to 0 after the first n rows."""

    def mask(gradient: Tensor) -> Tensor:
        rows = torch.arange(len(gradient), device=gradient.device) < n
        return gradient * rows.view(-1, *[1] * (gradient.dim() - 1))

    return mask
