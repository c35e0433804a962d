"""The EM index of a million items, beside FAISS's k-means; minutes a turn."""

from typing import ClassVar

import numpy as np
from synthetic_items import Catalogue

from rows.em_index import EMIndex


class LargeEMIndex(EMIndex):
    """A million items; the centres of both sides are learnt from a sample."""

    nodes = (10_000, 1_000)
    shortened: ClassVar[dict] = {"points": 32}
    what = "EM index, 10,000/1,000 of a million made items, at most 20 iterations, 32 points a node"
    beside = "`faiss.Kmeans` of 10,000 nodes and its assignment, alone"

    def items(self) -> np.ndarray:
        """Returns made items."""
        return Catalogue(1_000_000).matrix()

    def iterations(self) -> str:
        """Says nothing: a further k-means would take minutes."""
        return ""


ROWS = [LargeEMIndex]
