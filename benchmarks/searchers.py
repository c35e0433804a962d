"""What benchmarks/retrieval.py compares: this package's retrievers and FAISS's indices.

A searcher is built from a :class:`Setting`, and then searches at one width after the other.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import faiss
import numpy as np
import torch
from faiss.contrib.ivf_tools import add_preassigned

from recbole_hill.index.em import kmeans_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever

#: Above this number of items, building the graph takes most of an hour on two cores.
HNSW_MOST_ITEMS = 1_000_000
#: Codes of the residual quantiser per item, each from a codebook of 256 entries: one byte each.
CODEBOOKS = 8
#: Number of items that the residual quantiser's codes propose per item in the list.
REFINED = 10
#: Passes over the items in learning by gradient, and items visited in all passes together.
LTI_EPOCHS, LTI_VISITS = 30, 5_000_000


@dataclass(frozen=True)
class Setting:
    """What every searcher is built from, with the parts that several searchers share.

    Attributes:
        items: Shape (I, D), float32.
        nodes: K_1, ..., K_L; K_1 is also the number of lists of FAISS's indices.
        seed: Seed of every k-means.
        points: Largest number of points per node that a k-means learns from, ours and FAISS's.
        iterations: Iterations of every k-means.
        own_index: Index of a finished run, used instead of learning one.
        progress: Whether to show progress bars.
    """

    items: np.ndarray
    nodes: tuple[int, ...]
    seed: int = 0
    points: int = 256
    iterations: int = 20
    own_index: HierarchicalIndex | None = None
    progress: bool = False

    @cached_property
    def em_index(self) -> tuple[HierarchicalIndex, float]:
        """The index learnt by EM, or the run's own index, and the seconds that it took."""
        if self.own_index is not None:
            return self.own_index, float("nan")
        started = time.perf_counter()
        index = kmeans_index(
            self.items,
            np.arange(len(self.items)).astype("U8"),
            self.nodes,
            seed=self.seed,
            iterations=self.iterations,
            points_per_node=self.points,
            progress=self.progress,
        )
        return index, time.perf_counter() - started

    @cached_property
    def lti_index(self) -> tuple[HierarchicalIndex, float]:
        """The index learnt by gradient, top down: codes whose prefixes make at most K_1 nodes.

        Two codebooks of a few dozen codewords each replace K_1 nodes. To assign an item, it is
        compared with as many codewords as both have together, instead of with K_1 nodes.
        """
        started = time.perf_counter()
        coarse = self.nodes[-1]
        sizes = (max(1, self.nodes[0] // coarse), coarse)
        torch.manual_seed(self.seed)
        items = torch.from_numpy(self.items)
        schedule = Schedule(alpha=500.0, alpha_power=2.0, steps=1, warmup_steps=0)
        learner = LearnedIndex(sizes, items.shape[1], schedule=schedule)
        epochs = min(LTI_EPOCHS, max(2, round(LTI_VISITS / len(items))))
        learner.fit(items, epochs=epochs, batch_size=4096, seed=self.seed, progress=self.progress)
        index = learner.publish(np.arange(len(items)).astype("U8"), items)
        return index, time.perf_counter() - started

    @cached_property
    def lists(self) -> tuple[np.ndarray, np.ndarray, float]:
        """FAISS's own L2 k-means: centroids (K_1, D), the list of each item (I,), and seconds."""
        started = time.perf_counter()
        kmeans = self.kmeans()
        nearest = kmeans.assign(self.items)[1].astype(np.int64)
        return kmeans.centroids, nearest, time.perf_counter() - started

    def kmeans(self) -> faiss.Kmeans:
        """Runs FAISS's own L2 k-means."""
        kmeans = faiss.Kmeans(
            self.items.shape[1],
            self.nodes[0],
            niter=self.iterations,
            seed=self.seed + 1,
            min_points_per_centroid=1,
            max_points_per_centroid=self.points,
        )
        kmeans.train(self.items)
        return kmeans


class Searcher:
    """One way to search.

    Attributes:
        name: Name in the tables.
        unit: Unit of its width.
        widths: Widths to try, ascending.
        seconds: Seconds of building, index learning included.
        mib: Size of the data that a search reads, in MiB.
    """

    name: str
    unit = "lists"

    def __init__(self, setting: Setting):
        self.setting = setting
        started = time.perf_counter()
        shared = self.build() or 0.0
        self.seconds = time.perf_counter() - started + shared
        self.mib = self.bytes() / 2**20

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths 1, 2, 3, 4, 6, 8, 12 ...: doubling, with one step between."""
        steps = sorted({*(2**n for n in range(20)), *(3 * 2**n for n in range(20))})
        return tuple(step for step in steps if step <= self.setting.nodes[0])

    def build(self) -> float | None:
        """Builds the index; returns the seconds of shared parts that were built elsewhere."""

    def bytes(self) -> int:
        """Returns the size of the data that a search reads, in bytes."""

    def at(self, width: int) -> None:
        """Sets the width of the next searches."""

    def find(self, users: np.ndarray, k: int, seen=None) -> tuple[np.ndarray, float]:
        """Searches.

        Args:
            users: Shape (B, D).
            k: List length.
            seen: Pair of tensors (rows, items) that must not be returned, sorted by rows.

        Returns:
            Item rows (B, k), -1 for none, and the number of inner products (or code distances).
        """
        raise NotImplementedError


class Exact(Searcher):
    """Scores every item, by PyTorch's matrix product."""

    name, unit, widths = "exact (PyTorch)", "items", (1,)

    def build(self):
        """Uses the vectors as they are."""
        self.retriever = ExactRetriever(torch.from_numpy(self.setting.items))

    def bytes(self) -> int:
        """Returns the size of the vectors."""
        return self.setting.items.nbytes

    def find(self, users, k, seen=None):
        """Searches with the retriever."""
        before = self.retriever.scored
        ids = self.retriever.search(torch.from_numpy(users), k, seen)[1].numpy()
        return ids, self.retriever.scored - before


class HillBeam(Exact):
    """Our beam search, all in PyTorch."""

    name, unit = "HILL beam", "nodes kept"
    widths = Searcher.widths
    #: The index, as a property of the setting. A subclass names another one.
    learnt = "em_index"

    def build(self):
        """Learns the index, or takes the index that another searcher had learnt."""
        known = self.learnt in vars(self.setting)
        self.index, seconds = getattr(self.setting, self.learnt)
        self.width = None
        self.at(1)
        return seconds if known or math.isnan(seconds) else 0.0  # NaN: a finished run's

    def bytes(self) -> int:
        """Returns the size of the items, the nodes and the lists of children."""
        tree = (*self.index.vectors, *self.index.parents)
        starts = sum(8 * (n + 1) for n in self.index.nodes_per_depth)
        return super().bytes() + sum(array.nbytes for array in tree) + starts

    def at(self, width):
        """Makes a retriever of this width; deletes the last one first, as it holds the items."""
        if width == self.width:
            return
        self.width, self.retriever = width, None
        self.retriever = self.make(torch.from_numpy(self.setting.items), width)

    def make(self, items: torch.Tensor, width: int):
        """Returns the retriever."""
        return BeamRetriever(self.index, items, beam_width=width)


class HillFaissBeam(HillBeam):
    """Our beam search picks the lists, and FAISS scans them."""

    name = "HILL-FAISS, beam"

    def make(self, items, width):
        """Returns the retriever."""
        return FaissRetriever(self.index, items, probe="beam", beam_width=width)


class LtiFaissBeam(HillFaissBeam):
    """The same as HILL-FAISS with beam, over an index learnt by gradient."""

    name, learnt = "LTI-FAISS, beam", "lti_index"


class HillFaissNodes(HillBeam):
    """FAISS picks the lists among all depth-1 nodes, and scans them."""

    name, unit = "HILL-FAISS, nodes", "lists"

    def make(self, items, width):
        """Returns the retriever; FAISS's index is kept, and only its number of probes changes."""
        if not hasattr(self, "kept"):
            self.kept = FaissRetriever(self.index, items, probe="nodes", n_probe=width)
        self.kept.faiss_index.nprobe = width
        return self.kept


class Flat(Searcher):
    """FAISS's exact search."""

    name, unit, widths = "FAISS Flat", "items", (1,)

    def build(self):
        """Copies the vectors."""
        self.index = faiss.IndexFlatIP(self.setting.items.shape[1])
        self.index.add(self.setting.items)

    def bytes(self) -> int:
        """Returns the size that FAISS would write to a file."""
        size = 0

        def count(part: bytes) -> int:
            nonlocal size
            size += len(part)
            return len(part)

        faiss.write_index(self.index, faiss.PyCallbackIOWriter(count))
        return size

    def find(self, users, k, seen=None):
        """Searches longer lists, by the length of the longest history, and drops seen items."""
        self.reset()
        if seen is None:
            ids = self.index.search(users, k)[1]
        else:
            rows, items = (part.numpy() for part in seen)
            longest = int(np.bincount(rows, minlength=1).max())
            more = min(k + longest, len(self.setting.items))
            ids = drop_seen(self.index.search(users, more)[1], rows, items, k)
        return ids, self.scored(len(users))

    def reset(self) -> None:
        """Sets FAISS's counters to zero."""

    def scored(self, n_users: int) -> float:
        """Returns the inner products since the last reset."""
        return n_users * len(self.setting.items)


class IvfFlat(Flat):
    """Lists of L2 k-means, probed by inner product: FAISS's strong form for inner products."""

    name, unit = "FAISS IVFFlat, L2 lists", "lists"
    widths = Searcher.widths

    def build(self):
        """Fills the lists; all indices over L2 k-means share them."""
        known = "lists" in vars(self.setting)
        self.centroids, self.nearest, seconds = self.setting.lists
        self.index = self.empty()
        ids = np.arange(len(self.setting.items))  # named, as add_preassigned keeps only a pointer
        add_preassigned(self.index, self.setting.items, self.nearest, ids)
        return seconds if known else 0.0

    def empty(self):
        """Returns an index without items, whose quantiser has the centroids."""
        self.quantizer = faiss.IndexFlatIP(self.setting.items.shape[1])
        self.quantizer.add(self.centroids)
        return faiss.IndexIVFFlat(
            self.quantizer, self.quantizer.d, len(self.centroids), faiss.METRIC_INNER_PRODUCT
        )

    def at(self, width):
        """Sets nprobe."""
        self.index.nprobe = width

    def reset(self):
        """Sets the count of scanned items to zero."""
        faiss.cvar.indexIVF_stats.reset()

    def scored(self, n_users):
        """Returns the number of scanned items and centroids."""
        return faiss.cvar.indexIVF_stats.ndis + n_users * self.setting.nodes[0]


class IvfSpherical(IvfFlat):
    """IVFFlat as FAISS itself trains it for inner products: lists of spherical k-means."""

    name = "FAISS IVFFlat, spherical lists"

    def build(self):
        """Trains the index and adds the items."""
        dim, n_lists = self.setting.items.shape[1], self.setting.nodes[0]
        self.quantizer = faiss.IndexFlatIP(dim)
        self.index = faiss.IndexIVFFlat(self.quantizer, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
        self.index.cp.niter, self.index.cp.seed = self.setting.iterations, self.setting.seed + 1
        self.index.cp.min_points_per_centroid = 1
        self.index.cp.max_points_per_centroid = self.setting.points
        self.index.train(self.setting.items)
        self.index.add(self.setting.items)


class IvfResidual(IvfFlat):
    """Residual-quantiser codes in IVFFlat's lists; the best items by code are scored exactly."""

    name = f"FAISS IVF-RQ, {CODEBOOKS} B codes"

    def build(self):
        """Encodes the items, and keeps their vectors for the exact scores."""
        shared = super().build()
        # Codes are of the residuals of the L2 centroids; lists are picked by inner product.
        self.index.quantizer = self.quantizer
        self.codes = self.index
        self.index = faiss.IndexRefineFlat(self.codes, faiss.swig_ptr(self.setting.items))
        self.index.k_factor = REFINED
        return shared

    def empty(self):
        """Returns an index without items, whose codebooks are trained."""
        super().empty()
        self.nearest_list = faiss.IndexFlatL2(self.quantizer.d)
        self.nearest_list.add(self.centroids)
        index = faiss.IndexIVFResidualQuantizer(
            self.nearest_list,
            self.quantizer.d,
            len(self.centroids),
            CODEBOOKS,
            8,
            faiss.METRIC_INNER_PRODUCT,
            faiss.AdditiveQuantizer.ST_LUT_nonorm,
        )
        index.rq.max_beam_size = 2  # the default, 5, takes most of an hour for a million items
        index.train(self.setting.items[: 256 * 256])
        return index

    def at(self, width):
        """Sets nprobe."""
        self.codes.nprobe = width

    def find(self, users, k, seen=None):
        """Searches, and adds the vectors that are scored after the codes to the count."""
        ids, scored = super().find(users, k, seen)
        return ids, scored + len(users) * REFINED * k


class Hnsw(Flat):
    """A graph of neighbours by inner product, with 32 edges per node."""

    name, unit = "FAISS HNSW, M=32", "efSearch"
    widths = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)

    def build(self):
        """Inserts all items."""
        dim = self.setting.items.shape[1]
        self.index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        self.index.add(self.setting.items)

    def at(self, width):
        """Sets efSearch."""
        self.index.hnsw.efSearch = width

    def reset(self):
        """Sets the count of distances to zero."""
        faiss.cvar.hnsw_stats.reset()

    def scored(self, n_users):
        """Returns the number of distances computed."""
        return faiss.cvar.hnsw_stats.ndis


def drop_seen(found: np.ndarray, rows: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """Returns the first k items of each list (B, M) that its user has not seen, -1 for none.

    Args:
        found: Item rows, -1 for none, shape (B, M).
        rows: Row of the list for each seen pair, shape (E,).
        items: Item of each seen pair, shape (E,).
        k: List length, at most M.
    """
    base = int(max(found.max(), items.max(initial=0))) + 2
    own = np.arange(len(found))[:, None] * base
    gone = np.isin(own + found + 1, rows * base + items + 1) | (found < 0)
    order = np.argsort(gone, axis=1, kind="stable")[:, :k]
    return np.where(np.take_along_axis(gone, order, 1), -1, np.take_along_axis(found, order, 1))


SEARCHERS: dict[str, Callable[[Setting], Searcher]] = {
    "flat": Flat,
    "exact": Exact,
    "ivf": IvfFlat,
    "hill-beam": HillBeam,
    "hill-faiss": HillFaissBeam,
    "hill-nodes": HillFaissNodes,
    "lti-faiss": LtiFaissBeam,
    "spherical": IvfSpherical,
    "hnsw": Hnsw,
    "rq": IvfResidual,
}
