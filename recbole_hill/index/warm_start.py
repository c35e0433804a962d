"""An index on newer data: how it is carried over, and how far it moves in further learning.

Depth 1 is the nodes just above the items, depth L the coarsest nodes.
"""

from dataclasses import dataclass, replace

import numpy as np

from recbole_hill.data.ids import places
from recbole_hill.index.codes import codes_of_tree, drift, matched
from recbole_hill.index.hierarchy import HierarchicalIndex, means


@dataclass(frozen=True)
class OldIndex:
    """The old index on newer data: the start of learning, and the reference for the drift.

    Attributes:
        carried: The old index over the new data's items.
        survivors: Rows, in the new item list, of the items that were also in the old list, (S,).
        codes: Nodes of these items in the old index, (L, S).
        by_gradient: Whether ``codes`` are node numbers of a gradient learner, which stay the same.
            k-means numbers its nodes anew; its nodes are matched by the items that they share.
    """

    carried: HierarchicalIndex
    survivors: np.ndarray
    codes: np.ndarray
    by_gradient: bool

    @classmethod
    def of(
        cls,
        index: HierarchicalIndex,
        items: np.ndarray,
        vectors: np.ndarray,
        codebooks: list[np.ndarray] | None = None,
    ) -> "OldIndex":
        """Prepares an old index for new data.

        Args:
            index: The old index.
            items: External ids of the new data's items, (I,).
            vectors: Current vectors of these items, (I, D).
            codebooks: Nodes from which the old index was published, if it was learnt by gradient.
        """
        row = places(items, index.items)
        survivors = np.flatnonzero(row >= 0)
        if codebooks is None:
            codes = np.stack([index.assignments(depth) for depth in range(1, index.depth + 1)])
        else:
            codes = codes_of_tree(index, codebooks)
        carried = carried_over(index, items, vectors)
        return cls(carried, survivors, codes[:, row[survivors]], codebooks is not None)

    def drift(self, codes: np.ndarray) -> list[float]:
        """Returns the share of surviving items whose node has changed, at depths 1..L.

        Args:
            codes: Current nodes of all items of the new data, (L, I).
        """
        now = codes[:, self.survivors]
        if self.by_gradient:
            return drift(self.codes, now, self.carried.direction)
        return drift(self.codes, matched(self.codes, now))

    def start(self) -> HierarchicalIndex:
        """Returns the carried tree with the node vectors from which learning continues.

        A ``bottom_up`` tree gets the centres of a k-means that ends with this tree. They are means
        of the nodes below, while the tree's own vectors are means of items. A ``top_down`` tree is
        returned unchanged, because the codewords of its k-means cannot be read from it.
        """
        if self.carried.direction == "top_down":
            return self.carried
        centres = [self.carried.vectors[0]]
        for parent, nodes in zip(self.carried.parents[1:], self.carried.vectors[1:], strict=True):
            centres.append(means(centres[-1], parent, len(nodes)))
        return replace(self.carried, vectors=tuple(centres))


def carried_over(
    index: HierarchicalIndex, items: np.ndarray, vectors: np.ndarray
) -> HierarchicalIndex:
    """Returns an index over another item list: deleted items are removed, new items are added.

    The vectors of the nodes become the means of the surviving items' current vectors, because the
    item vectors of a graph model change with the graph. A new item goes under the nearest depth-1
    node. No surviving item moves.

    Args:
        index: The old index.
        items: External ids of the new data's items, (I,); the index has at least one of them.
        vectors: Current vectors of these items, (I, D).
    """
    row = places(index.items, items)
    surviving = row >= 0
    # The vectors of deleted items do not matter: no node keeps a deleted item as a member.
    index = index.remove(index.items[~surviving], vectors[row.clip(min=0)])
    held = row[surviving]
    index = index.refreshed(vectors[held])
    added = np.setdiff1d(np.arange(len(items)), held)
    if len(added):
        index = index.add(items[added], vectors[added], vectors[held])
    order = places(items, index.items)
    parents = (index.parents[0][order], *index.parents[1:])
    return HierarchicalIndex.build(items, parents, vectors, index.direction, index.vectors)
