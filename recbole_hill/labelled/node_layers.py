"""The layers of an index that one network scores: nodes, coarsest layer first, then the items."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled.model import grid_logits
from recbole_hill.labelled.monn import MoNN


@dataclass(frozen=True)
class NodeLayers:
    """What :class:`~recbole_hill.labelled.search.LayeredSearch` asks of a model, for one network.

    Attributes:
        backbone: The model whose network scores every layer.
        index: The index.
        items: Item id of each node's representative item (the member item that is closest to the
            node), coarsest layer first, then of the items, each (K,).
        vectors: Vectors of the nodes, coarsest layer first, then of the items, each (K, num_embed,
            dim).
    """

    backbone: MoNN
    index: HierarchicalIndex
    items: list[Tensor]
    vectors: list[Tensor]

    def tables(self) -> "NodeLayers":
        """Returns the object itself, which has the index."""
        return self

    @property
    def alive(self) -> Tensor:
        """Whether a list may contain an item, by item id, shape (I + 1,)."""
        return self.backbone.alive

    @property
    def alive_rows(self) -> Tensor:
        """Rows of the served items (row = item id - 1), ascending, shape (N,)."""
        return self.backbone.alive_rows

    def user_vectors_of_layers(self, users: Tensor) -> list[Tensor]:
        """Returns the user tower's embeddings of users (b,), once for each layer."""
        return [self.backbone.block.user(users)] * len(self.vectors)

    def layer_logits(self, layer: int, users: Tensor, vectors: Tensor, nodes: Tensor) -> Tensor:
        """Returns the network's logits for each user paired with a list of nodes (or items).

        Args: see :meth:`recbole_hill.labelled.hsnn.HSNN.layer_logits`.
        """
        of_nodes = self.vectors[layer][nodes.to(self.vectors[layer].device)]
        return grid_logits(self.backbone.block, users, vectors, self.items[layer][nodes], of_nodes)

    def ensemble(self, layer: int, per_layer: Sequence[Tensor]) -> Tensor:
        """Returns the logits of a layer; one network scores them all, and nothing is added."""
        return per_layer[-1]
