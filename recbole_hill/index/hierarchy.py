"""The hierarchical index as an immutable value: the parent of every item and node, and vectors."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from recbole_hill.checks import one_of
from recbole_hill.run.files import atomic_path

DIRECTIONS = ("bottom_up", "top_down")
_FORMAT = 1
#: Number of rows converted to float64 at once. All 10 million items at once would need 5 GB per
#: temporary array.
BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class HierarchicalIndex:
    """A tree over items. Depth 0 is the items, depth 1 the nodes just above, depth L the coarsest.

    Attributes:
        items: External item ids, shape (I,); row r of an item matrix is ``items[r]``.
        parents: ``parents[0]`` is the depth-1 node of each item, shape (I,); ``parents[d]`` is the
            parent of each depth-d node, shape (K_d,). Every node has at least one child.
        vectors: Node vectors at depths 1..L, each (K_d, D).
        representatives: Row of each node's representative item (the member item closest to the
            node) at depths 1..L, each (K_d,).
        direction: ``bottom_up`` (clusters of clusters) or ``top_down`` (residual codes).

    Raises:
        ValueError: If the parts do not make a tree.
    """

    items: np.ndarray
    parents: tuple[np.ndarray, ...]
    vectors: tuple[np.ndarray, ...]
    representatives: tuple[np.ndarray, ...]
    direction: str = "bottom_up"

    def __post_init__(self):
        freeze = object.__setattr__
        freeze(self, "items", _frozen(np.asarray(self.items, dtype=str)))
        for name, dtype in (
            ("parents", np.int64),
            ("vectors", np.float32),
            ("representatives", np.int64),
        ):
            arrays = tuple(np.asarray(array) for array in getattr(self, name))
            for array in arrays:
                if dtype is np.int64 and not np.issubdtype(array.dtype, np.integer):
                    raise ValueError(f"{name} must be integers, got {array.dtype}")
            freeze(self, name, tuple(_frozen(array.astype(dtype)) for array in arrays))
        self._check()

    def _check(self) -> None:
        one_of("index direction", self.direction, DIRECTIONS)
        if not self.parents or not len(self.items):
            raise ValueError("an index needs at least one item and one depth")
        if not len(self.parents) == len(self.vectors) == len(self.representatives):
            raise ValueError("parents, vectors and representatives must have one array per depth")
        if _any_twice(self.items):
            raise ValueError("an index cannot hold an item twice")
        below = len(self.items)
        for depth, (parent, vectors) in enumerate(
            zip(self.parents, self.vectors, strict=True), start=1
        ):
            n_nodes = len(vectors)
            if parent.shape != (below,):
                raise ValueError(f"parents at depth {depth} must have {below} entries")
            if parent.min() < 0 or parent.max() >= n_nodes:
                raise ValueError(f"parents at depth {depth} must be in 0..{n_nodes - 1}")
            if (np.bincount(parent, minlength=n_nodes) == 0).any():
                raise ValueError(f"every depth-{depth} node must have a child")
            if vectors.ndim != 2 or vectors.shape[1] != self.vectors[0].shape[1]:
                raise ValueError(f"vectors at depth {depth} must be 2-D and as wide as the others")
            if not np.isfinite(vectors).all():
                raise ValueError(f"vectors at depth {depth} must be finite")
            members = self.representatives[depth - 1]
            inside = members.shape == (n_nodes,) and 0 <= members.min() <= members.max() < len(
                self.items
            )
            if not inside or (self.assignments(depth)[members] != np.arange(n_nodes)).any():
                raise ValueError(f"representatives at depth {depth} must be members of their nodes")
            below = n_nodes

    @classmethod
    def build(
        cls,
        items: Sequence[str],
        parents: Sequence[np.ndarray],
        item_vectors: np.ndarray,
        direction: str = "bottom_up",
        vectors: Sequence[np.ndarray] | None = None,
    ) -> "HierarchicalIndex":
        """Completes a tree: computes node vectors (means of their items) and representative items.

        Args:
            items: External item ids, (I,).
            parents: See the class.
            item_vectors: Shape (I, D).
            direction: See the class.
            vectors: Node vectors per depth; None means the means of the nodes' items.

        Raises:
            ValueError: If the parts do not make a tree, or an item has no vector.
        """
        item_vectors = _matrix(item_vectors, len(items))
        assignment, node_vectors, representatives = np.arange(len(items)), [], []
        for depth, parent in enumerate(parents):
            assignment = np.asarray(parent)[assignment]
            n_nodes = int(assignment.max()) + 1
            nodes = means(item_vectors, assignment, n_nodes) if vectors is None else vectors[depth]
            node_vectors.append(nodes)
            representatives.append(_closest_members(item_vectors, assignment, nodes))
        return cls(items, tuple(parents), tuple(node_vectors), tuple(representatives), direction)

    # -- reading --------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """L, the number of depths above the items."""
        return len(self.parents)

    @property
    def n_items(self) -> int:
        """I, the number of items."""
        return len(self.items)

    @property
    def nodes_per_depth(self) -> tuple[int, ...]:
        """K_1, ..., K_L."""
        return tuple(len(vectors) for vectors in self.vectors)

    def assignments(self, depth: int) -> np.ndarray:
        """Returns the node of every item at a depth from 1 to L, shape (I,)."""
        if not 1 <= depth <= self.depth:
            raise ValueError(f"depth must be in 1..{self.depth}, got {depth}")
        assignment = self.parents[0]
        for parent in self.parents[1:depth]:
            assignment = parent[assignment]
        return assignment

    def children(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the direct children of the nodes at a depth from 1 to L, in CSR form.

        Returns:
            Starts, shape (K_d + 1,), and child ids. The children of node n are
            ``ids[starts[n]:starts[n + 1]]``, ascending. Children of depth-1 nodes are item rows.
        """
        return self._children[depth - 1]

    @cached_property
    def _children(self) -> list[tuple[np.ndarray, np.ndarray]]:
        lists = []
        for parent, n_nodes in zip(self.parents, self.nodes_per_depth, strict=True):
            starts = np.concatenate(([0], np.cumsum(np.bincount(parent, minlength=n_nodes))))
            lists.append((_frozen(starts), _frozen(np.argsort(parent, kind="stable"))))
        return lists

    def path(self, row: int) -> tuple[int, ...]:
        """Returns the nodes above an item row, depth 1 first."""
        nodes = []
        for parent in self.parents:
            row = int(parent[row])
            nodes.append(row)
        return tuple(nodes)

    # -- changing: every method returns a new index ---------------------------------------------

    def refreshed(self, item_vectors: np.ndarray) -> "HierarchicalIndex":
        """Returns the same tree with node vectors and representative items for new item vectors.

        Args:
            item_vectors: Shape (I, D).
        """
        return self.build(self.items, self.parents, item_vectors, self.direction)

    def add(
        self, items: Sequence[str], vectors: np.ndarray, item_vectors: np.ndarray
    ) -> "HierarchicalIndex":
        """Returns an index with new items, each under its nearest depth-1 node; old items stay.

        Args:
            items: External ids of the new items, (N,).
            vectors: Vectors of the new items, (N, D).
            item_vectors: Vectors of the items already in the index, (I, D); they decide the
                representative items.

        Raises:
            ValueError: If an item is already in the index.
        """
        held = np.isin(np.asarray(items, dtype=str), self.items)
        if held.any():
            raise ValueError(f"item {str(np.asarray(items)[held][0])!r} is in the index already")
        nearest = nearest_rows(np.asarray(vectors, dtype=np.float32), self.vectors[0])
        return self.build(
            np.concatenate((self.items, np.asarray(items, dtype=str))),
            (np.concatenate((self.parents[0], nearest)), *self.parents[1:]),
            np.concatenate((item_vectors, vectors)),
            self.direction,
            self.vectors,
        )

    def remove(self, items: Sequence[str], item_vectors: np.ndarray) -> "HierarchicalIndex":
        """Returns an index without some items; empty nodes are removed and nodes renumbered.

        Args:
            items: External ids of the items to remove.
            item_vectors: Vectors of all items in the index, (I, D); they decide the representative
                items.

        Raises:
            ValueError: If an item is not in the index, or no item would be left.
        """
        gone = np.asarray(items, dtype=str)
        unknown = gone[~np.isin(gone, self.items)]
        if len(unknown):
            raise ValueError(f"item {str(unknown[0])!r} is not in the index")
        item_vectors = _matrix(item_vectors, self.n_items)
        kept = np.flatnonzero(~np.isin(self.items, gone))
        if not len(kept):
            raise ValueError("an index needs at least one item and one depth")
        rows, parents, vectors = kept, [], []
        for parent, nodes in zip(self.parents, self.vectors, strict=True):
            alive, renumbered = np.unique(parent[rows], return_inverse=True)
            parents.append(renumbered)
            vectors.append(nodes[alive])
            rows = alive
        return self.build(self.items[kept], parents, item_vectors[kept], self.direction, vectors)

    # -- files ----------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Writes the index as arrays, without pickle; if writing fails, an old file is kept."""
        arrays = self._arrays()
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays, content=np.array(_digest(arrays)))

    @classmethod
    def load(cls, path: str | Path, items: Sequence[str] | None = None) -> "HierarchicalIndex":
        """Reads an index.

        Args:
            path: File that :meth:`save` wrote.
            items: Item list of the dataset; if given, the items of the index must be exactly these.

        Raises:
            ValueError: If the file is truncated, was changed, is no index, or is for other items.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            content = str(arrays.pop("content"))
            version, depth = int(arrays["format"]), int(arrays["depth"])
        except Exception as error:  # a damaged file makes zipfile and numpy raise nearly anything
            raise ValueError(f"{path} is not a whole index file: {error}") from error
        if content != _digest(arrays):
            raise ValueError(f"{path} was changed after it was saved: its contents do not add up")
        if version != _FORMAT:
            raise ValueError(f"{path} has index format {version}, this version reads {_FORMAT}")
        per_depth = {
            name: tuple(arrays[f"{name}_{d}"] for d in range(1, depth + 1))
            for name in ("parents", "vectors", "representatives")
        }
        index = cls(arrays["items"], direction=str(arrays["direction"]), **per_depth)
        if items is not None:
            index._require_items(np.asarray(items, dtype=str), path)
        return index

    def _require_items(self, items: np.ndarray, path: str | Path) -> None:
        if np.array_equal(items, self.items):
            return
        n = min(len(items), len(self.items))
        differ = np.flatnonzero(items[:n] != self.items[:n])
        where = int(differ[0]) if len(differ) else n
        in_index, given = (
            repr(str(tokens[where])) if where < len(tokens) else "nothing"
            for tokens in (self.items, items)
        )
        raise ValueError(
            f"{path} indexes another item list: {len(self.items)} items against {len(items)} here, "
            f"different from row {where} on ({in_index} against {given})"
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "format": np.array(_FORMAT),
            "depth": np.array(self.depth),
            "direction": np.array(self.direction),
            "items": self.items,
        }
        for name in ("parents", "vectors", "representatives"):
            for depth, array in enumerate(getattr(self, name), start=1):
                arrays[f"{name}_{depth}"] = array
        return arrays

    def with_vectors(self, vectors: Sequence[np.ndarray]) -> "HierarchicalIndex":
        """Returns the same tree and representative items with other node vectors, each (K_d, D)."""
        return replace(self, vectors=tuple(vectors))


def means(vectors: np.ndarray, assignment: np.ndarray, n_nodes: int) -> np.ndarray:
    """Returns the mean vector of each node's members.

    Args:
        vectors: Shape (N, D).
        assignment: Node of each row, shape (N,); every node has a row.
        n_nodes: K.

    Returns:
        Shape (K, D), float32; sums are computed in float64.
    """
    order = np.argsort(assignment, kind="stable")
    sizes = np.bincount(assignment, minlength=n_nodes)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    mean = np.empty((n_nodes, vectors.shape[1]), dtype=np.float32)
    first = 0
    while first < n_nodes:  # whole nodes, together about a block of rows
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + BLOCK, side="right")))
        members = vectors[order[starts[first] : ends[last - 1]]].astype(np.float64)
        sums = np.add.reduceat(members, starts[first:last] - starts[first], axis=0)
        mean[first:last] = sums / sizes[first:last, None]
        first = last
    return mean


def squared_distances(
    vectors: np.ndarray, targets: np.ndarray, target_of: np.ndarray
) -> np.ndarray:
    """Returns the squared distance between each vector and its target, shape (N,), float64.

    Args:
        vectors: Shape (N, D).
        targets: Shape (K, D).
        target_of: Row of each vector's target, shape (N,).
    """
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        squares[rows] = ((vectors[rows] - targets[target_of[rows]]).astype(np.float64) ** 2).sum(1)
    return squares


def nearest_rows(vectors: np.ndarray, targets: np.ndarray, block: int = 1024) -> np.ndarray:
    """Returns each vector's L2-nearest row of the targets, ties to the smallest row, shape (N,).

    Args:
        vectors: Shape (N, D).
        targets: Shape (K, D).
        block: Number of vectors compared at once.
    """
    norms = (targets.astype(np.float64) ** 2).sum(1)
    nearest = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), block):
        part = vectors[start : start + block].astype(np.float64)
        nearest[start : start + block] = (norms - 2 * part @ targets.T.astype(np.float64)).argmin(1)
    return nearest


def _closest_members(
    item_vectors: np.ndarray, assignment: np.ndarray, nodes: np.ndarray
) -> np.ndarray:
    distance = squared_distances(item_vectors, nodes, assignment)
    distance[np.isnan(distance)] = np.inf
    least = np.full(len(nodes), np.inf)
    np.minimum.at(least, assignment, distance)
    closest = np.flatnonzero(distance == least[assignment])[::-1]
    member = np.empty(len(nodes), dtype=np.int64)
    member[assignment[closest]] = closest  # the last row written stays: the smallest
    return member


def _any_twice(items: np.ndarray) -> bool:
    """Returns whether an item is listed twice.

    Hashes are compared first: if all hashes differ, all items differ. Hashes sort faster than text.
    """
    letters = np.ascontiguousarray(items).view(np.uint32).reshape(len(items), -1)
    hashes = np.zeros(len(items), dtype=np.uint64)
    for column in letters.T:
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + column
        hashes ^= hashes >> np.uint64(29)
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any()) and len(np.unique(items)) != len(items)


def _matrix(vectors: np.ndarray, n_items: int) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != n_items:
        raise ValueError(f"item vectors must have shape ({n_items}, D), got {vectors.shape}")
    return vectors


def _frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()
