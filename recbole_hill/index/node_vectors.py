"""The vectors of index nodes as differentiable means of their member items."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recbole_hill.data.ragged import ranges
from recbole_hill.index.hierarchy import HierarchicalIndex

_FAMILY = ("starts", "children", "parents")


class NodeVectors(nn.Module):
    """Maps RecBole's item ids to index nodes, and current item vectors to node vectors.

    Row r of the index is RecBole's item ``r + 1``; id 0 is padding and is not in the index. Depth 1
    is the nodes just above the items.

    Args:
        index: The hierarchical index over all items of the dataset.
    """

    def __init__(self, index: HierarchicalIndex):
        super().__init__()
        self.depth = index.depth
        for depth in range(1, self.depth + 1):
            assignment = torch.from_numpy(index.assignments(depth).copy())
            sizes = torch.bincount(assignment, minlength=index.nodes_per_depth[depth - 1])
            tensors = {
                "assignment": assignment,
                "sizes": sizes,
                "members": assignment.argsort(stable=True),  # node by node
                "firsts": sizes.cumsum(0) - sizes,  # place of each node's first member
                "frozen": torch.from_numpy(index.vectors[depth - 1].copy()),
                "representatives": torch.from_numpy(index.representatives[depth - 1] + 1),
            }
            for name, value in tensors.items():
                self.register_buffer(f"{name}_{depth}", value, persistent=False)
            if depth < self.depth:  # children of the next depth's nodes give siblings
                starts, children = (torch.from_numpy(a.copy()) for a in index.children(depth + 1))
                parents = torch.from_numpy(index.parents[depth].copy())
                for name, value in zip(_FAMILY, (starts, children, parents), strict=True):
                    self.register_buffer(f"{name}_{depth}", value, persistent=False)

    def of_items(self, items: Tensor, depth: int) -> Tensor:
        """Returns the depth-``depth`` node of each RecBole item id (>= 1), in the same shape."""
        return getattr(self, f"assignment_{depth}")[items - 1]

    def count(self, depth: int) -> int:
        """Returns K_depth, the number of nodes at a depth."""
        return len(getattr(self, f"sizes_{depth}"))

    def means(self, items: Tensor, depth: int) -> Tensor:
        """Returns the mean vector of each node's items, differentiable.

        Args:
            items: RecBole's item vectors with the padding row, shape (I + 1, D).
            depth: Depth of the nodes, from 1.

        Returns:
            Shape (K_depth, D).
        """
        sizes = getattr(self, f"sizes_{depth}").unsqueeze(1)
        sums = items.new_zeros(len(sizes), items.shape[1])
        return sums.index_add(0, getattr(self, f"assignment_{depth}"), items[1:]) / sizes

    def chosen(
        self, kind: str, nodes: Tensor, depth: int, vectors_of: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Returns the vectors of some nodes, by averaging only their items where that is asked for.

        Args:
            kind: ``members`` (means of the current item vectors) | ``frozen`` (the index's vectors)
                | ``representative`` (the current vectors of the representative items).
            nodes: Node ids at ``depth``, shape (B,).
            depth: Depth of the nodes, from 1.
            vectors_of: Function from RecBole's item ids (N,) to current item vectors (N, D).

        Returns:
            Shape (B, D).
        """
        if kind == "frozen":
            return self.frozen(depth)[nodes]
        if kind == "representative":
            return vectors_of(self.representatives(depth)[nodes])
        sizes, members, firsts = (
            getattr(self, f"{name}_{depth}") for name in ("sizes", "members", "firsts")
        )
        sizes = sizes[nodes]
        row = torch.repeat_interleave(sizes)
        vectors = vectors_of(members[ranges(firsts[nodes], sizes)] + 1)
        sums = vectors.new_zeros(len(nodes), vectors.shape[1])
        return sums.index_add(0, row, vectors) / sizes.unsqueeze(1)

    def all(self, kind: str, depth: int, items: Tensor) -> Tensor:
        """Returns the vectors of all nodes at a depth, shape (K_depth, D).

        Args:
            kind: As for :meth:`chosen`.
            depth: Depth of the nodes, from 1.
            items: RecBole's item vectors with the padding row, shape (I + 1, D).
        """
        if kind == "frozen":
            return self.frozen(depth)
        if kind == "representative":
            return items[self.representatives(depth)]
        return self.means(items, depth)

    def representatives(self, depth: int) -> Tensor:
        """Returns RecBole's id of each node's representative item, shape (K_depth,).

        It is the member item that was closest to the node when the index was learnt.
        """
        return getattr(self, f"representatives_{depth}")

    def sibling(self, nodes: Tensor, depth: int) -> Tensor:
        """Draws a child of each node's parent: another node than the given one, if there is one.

        Args:
            nodes: Node ids at ``depth``, shape (B,); ``depth`` is less than L.
            depth: Depth of the nodes, from 1.

        Returns:
            Node ids, shape (B,).
        """
        starts, children, parents = (getattr(self, f"{name}_{depth}") for name in _FAMILY)
        parent = parents[nodes]
        first, size = starts[parent], starts[parent + 1] - starts[parent]
        draw = (torch.rand(len(nodes), device=nodes.device) * (size - 1)).long()
        # Children are in ascending order: skipping the node itself keeps the draw uniform.
        drawn = children[first + draw]
        return torch.where(
            drawn >= nodes, children[(first + draw + 1).clamp_max(first + size - 1)], drawn
        )

    def frozen(self, depth: int) -> Tensor:
        """Returns the node vectors that are stored in the index, shape (K_depth, D)."""
        return getattr(self, f"frozen_{depth}")
