"""Learning the index by EM, beside FAISS's k-means of its lowest depth alone."""

import time
from typing import ClassVar

import faiss
import numpy as np
import torch
from searchers import Setting as Searched

from recbole_hill.index.hierarchy import squared_distances
from rows.row import Row
from rows.spectral import item_vectors


class EMIndex(Row):
    """Ours adds k-means++ seeds, the depth above, node vectors, and the checked tree."""

    what = "EM index, 8000/800, at most 20 iterations, at most 256 points a node"
    beside = "`faiss.Kmeans` of 8000 nodes and its assignment, alone"
    at_most = 1.3
    warm_up = False
    nodes = (8000, 800)
    #: Of the k-means of both sides, where their defaults would take too long.
    shortened: ClassVar[dict] = {}

    def prepare(self) -> None:
        """Makes the vectors."""
        faiss.omp_set_num_threads(torch.get_num_threads())
        self.vectors = self.items()
        self.sums, self.walls = {}, {}

    def items(self) -> np.ndarray:
        """Returns what is clustered, (I, D)."""
        return item_vectors(self.setting)

    def ours(self):
        """Learns the tree."""
        index, _ = self._anew().em_index
        nearest = index.parents[0]
        self.sums["ours"] = squared_distances(self.vectors, index.vectors[0], nearest).sum()
        return index

    def peer(self):
        """Learns and assigns FAISS's lists."""
        centres, nearest, _ = self._anew().lists
        self.sums["peer"] = squared_distances(self.vectors, centres, nearest).sum()

    def cost(self, side) -> float:
        """Returns processor seconds, and keeps the seconds of the wall for the note."""
        started = time.perf_counter()
        found = super().cost(side)
        self.walls.setdefault(side.__name__, []).append(time.perf_counter() - started)
        return found

    def check(self) -> str:
        """Compares the objective, which may be lower, and looks for empty nodes."""
        index = self.ours()
        self.peer()
        sizes = tuple(len(vectors) for vectors in index.vectors)
        assert sizes == self.nodes, f"nodes per depth are {sizes}"
        ratio = self.sums["ours"] / self.sums["peer"]
        assert ratio <= 1.0, f"the sum of squared distances is {ratio:.3f} times FAISS's"
        return f"sum of squared distances: {ratio:.3f} of FAISS's; no node empty"

    def note(self) -> str:
        """Says what the wall clock showed, and after how many iterations FAISS came to rest."""
        wall = {side: sorted(spent)[len(spent) // 2] for side, spent in self.walls.items()}
        return (
            f"EM index, {self.nodes[0]:,} nodes, by the wall clock: {wall['ours']:.1f} s, FAISS's "
            f"{wall['peer']:.1f} s. {self.iterations()}"
        )

    def iterations(self) -> str:
        """Says after how many iterations FAISS's k-means moved no centre any more."""
        own = self._anew()
        kmeans = own.kmeans()
        return (
            f"FAISS's k-means came to rest after {len(kmeans.obj)} of {own.iterations} iterations, "
            "at a worse objective; ours stops once an iteration gains less than .01 %. An "
            "iteration costs the same in both."
        )

    def _anew(self) -> Searched:
        return Searched(self.vectors, self.nodes, **self.shortened)


ROWS = [EMIndex]
