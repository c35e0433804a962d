"""An index on newer data: carried over at once, and how far it has moved after more learning."""

from dataclasses import dataclass, replace

import numpy as np

from recbole_hill.data.ids import places
from recbole_hill.index.codes import codes_of_tree, drift, matched
from recbole_hill.index.hierarchy import HierarchicalIndex, means


@dataclass(frozen=True)
class OldIndex:
    """What an index starts from on newer data, and what it is compared with afterwards.

    Attributes:
        carried: The old index over the new data's items.
        survivors: Rows of the items that were there before, in the new list, (S,).
        codes: Their nodes in the old index, (L, S).
        by_gradient: Whether these are numbers of a learner's nodes, which keep them; a k-means
            numbers its nodes anew, and they are matched by the items that they share.
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
            items: External ids of the new data, (I,).
            vectors: Their current vectors, (I, D).
            codebooks: The nodes that the index was published from, if it was learnt by gradient.
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
            codes: The nodes of all items of the new data now, (L, I).
        """
        now = codes[:, self.survivors]
        if self.by_gradient:
            return drift(self.codes, now, self.carried.direction)
        return drift(self.codes, matched(self.codes, now))

    def start(self) -> HierarchicalIndex:
        """Returns the carried tree with the node vectors that learning goes on from.

        The vectors are the centres of a ``bottom_up`` k-means that ends with the carried tree:
        means of the nodes below, where the tree's own are means of items. A ``top_down`` tree does
        not tell the codewords of its k-means, and is returned as it is.
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
    """Returns an index over another item list: deleted items gone, new ones in place.

    Node vectors become the means of the surviving items' current vectors (a graph model's change
    with the graph); a new item goes under the nearest depth-1 node. No surviving item moves.

    Args:
        index: The old index.
        items: External ids of the new data, (I,), at least one of them in the index.
        vectors: Their current vectors, (I, D).
    """
    row = places(index.items, items)
    surviving = row >= 0
    # What deleted items' vectors are does not matter: no node keeps one as a member.
    index = index.remove(index.items[~surviving], vectors[row.clip(min=0)])
    held = row[surviving]
    index = index.refreshed(vectors[held])
    added = np.setdiff1d(np.arange(len(items)), held)
    if len(added):
        index = index.add(items[added], vectors[added], vectors[held])
    order = places(items, index.items)
    parents = (index.parents[0][order], *index.parents[1:])
    return HierarchicalIndex.build(items, parents, vectors, index.direction, index.vectors)
