"""Index learning by EM (HILL, section 3.5): the E-step is k-means, depth by depth.

Depth 1 is the nodes just above the items, depth L the coarsest nodes. The M-step trains the
backbone with the current nodes as extra targets: see :meth:`recbole_hill.model.hill.HILL.em_loss`.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
from tqdm import tqdm

from recbole_hill.checks import one_of, require_finite
from recbole_hill.host.optional import require_faiss
from recbole_hill.index.codes import tree_of_codes
from recbole_hill.index.hierarchy import DIRECTIONS, HierarchicalIndex, means, squared_distances
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.score_space import score_map

#: Rounds of batched k-means++. On Gowalla (8,000 nodes over 40,981 items) 32 to 1,000 rounds end at
#: the same objective within 0.4 %, which is 9 % lower than with random seeds. 1,000 rounds cost a
#: fifth of k-means.
BATCHES = 128
#: k-means stops after an iteration that lowers the sum of squared distances by a smaller share. On
#: Gowalla this is iteration 12 of 20; the other eight would lower the sum by 0.03 %.
TOLERANCE = 1e-4
#: Largest number of iterations of one k-means.
ITERATIONS = 20
#: Largest number of points per node from which a k-means learns; FAISS's default.
POINTS_PER_NODE = 256
#: Number of points whose distances to a round's candidates are computed together, to stay in cache.
SEED_BLOCK = 1 << 13
#: Number of points assigned between two steps of the progress bar: a multiple of 4096, the block of
#: queries in FAISS.
ASSIGN_BLOCK = 1 << 17


class EMLearner(IndexLearner):
    """k-means over items, then over nodes; each M-step trains the backbone on the nodes.

    Settings: ``nodes_per_depth``, ``index_direction``, ``index_metric``, ``em_rounds``, ``seed``.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        direction: ``bottom_up`` | ``top_down``, see :func:`kmeans_index`.
        metric: ``items`` (distances between item vectors) | ``scores`` (differences between the
            scores that users give to items).
        rounds: Number of M-steps.
        seed: Seed of k-means.
        progress: Whether to show a bar.
    """

    def __init__(
        self,
        nodes_per_depth: Sequence[int],
        *,
        direction: str = "bottom_up",
        metric: str = "items",
        rounds: int = 0,
        seed: int,
        progress: bool = False,
    ):
        self.sizes = check_sizes(nodes_per_depth, direction)
        if metric == "scores" and direction != "bottom_up":
            raise ValueError(
                f"index_metric scores is for index_direction bottom_up, got {direction}; "
                "there accepted is items"
            )
        self.direction, self.metric = direction, metric
        self.rounds = rounds
        self.seed, self.progress = seed, progress

    @classmethod
    def from_settings(cls, settings: Mapping, *, n_items: int, dim: int | None) -> "EMLearner":
        """Reads the settings that the class lists."""
        sizes = check_sizes(settings["nodes_per_depth"], settings["index_direction"], n_items)
        return cls(
            sizes,
            direction=settings["index_direction"],
            metric=settings["index_metric"],
            rounds=settings["em_rounds"],
            seed=settings["seed"],
            progress=bool(settings["show_progress"]),
        )

    def learn(
        self, vectors: Vectors, ids: Sequence[str], start: HierarchicalIndex | None = None
    ) -> HierarchicalIndex:
        """Clusters the items (E-step), from the centres of ``start`` where it has centres."""
        starts = None
        if start is not None and self.direction == "bottom_up":
            pairs = zip(start.vectors, self.sizes, strict=True)
            starts = [centres if len(centres) <= size else None for centres, size in pairs]
        return kmeans_index(
            vectors.items,
            ids,
            self.sizes,
            direction=self.direction,
            seed=self.seed,
            progress=self.progress,
            starts=starts,
            user_vectors=vectors.users if self.metric == "scores" else None,
        )


def kmeans_index(
    item_vectors: np.ndarray,
    items: Sequence[str],
    nodes_per_depth: Sequence[int],
    *,
    direction: str = "bottom_up",
    seed: int,
    iterations: int = ITERATIONS,
    points_per_node: int = POINTS_PER_NODE,
    progress: bool = False,
    starts: Sequence[np.ndarray | None] | None = None,
    user_vectors: np.ndarray | None = None,
) -> HierarchicalIndex:
    """Clusters items into a hierarchy.

    ``bottom_up`` clusters the items into K_1 nodes, the vectors of these nodes into K_2 nodes, and
    so on. ``top_down`` quantises residuals, coarse to fine: the first k-means finds K_L codewords
    for the item vectors, the next one K_{L-1} codewords for the residuals, and so on. A
    ``top_down`` node is a code prefix that occurs; its vector is the sum of the codewords on its
    path. The number of nodes at depth d therefore lies between K_d and the number of items.

    Args:
        item_vectors: Shape (I, D).
        items: External item ids, (I,).
        nodes_per_depth: K_1, ..., K_L; for ``bottom_up``, no number is larger than the one before.
        direction: ``bottom_up`` | ``top_down``.
        seed: Seed of k-means.
        iterations: Largest number of iterations of each k-means; it stops earlier when it hardly
            gains (``TOLERANCE``).
        points_per_node: k-means learns from a sample with this many points per node; all points are
            assigned.
        progress: Whether to show a bar.
        starts: Initial centres per depth (``bottom_up``), at most K_d rows each. If there are
            fewer, the points farthest from all centres are added. None at a depth means k-means++
            seeds.
        user_vectors: User vectors, shape (U, D) (``bottom_up``). With user vectors, two items are
            near each other if users give them similar *scores*: k-means lowers the mean over users
            of (score of the item - score of its node)^2. A direction in which no user vector points
            then counts for nothing.

    Returns:
        The index.

    Raises:
        ValueError: If the sizes or vectors do not fit. The message names the value and what is
            accepted.
    """
    vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
    sizes = check_sizes(nodes_per_depth, direction, len(vectors))
    options = {
        "seed": seed,
        "iterations": iterations,
        "points_per_node": points_per_node,
        "progress": progress,
    }
    if direction == "top_down":
        return _residual_codes(vectors, items, sizes, options)
    starts = starts or [None] * len(sizes)
    if user_vectors is not None:
        require_finite("user vectors", user_vectors)
    root = None if user_vectors is None else score_map(user_vectors)
    parents, node_vectors, nodes, node = [], [], vectors, np.arange(len(vectors))
    for size, init in zip(sizes, starts, strict=True):
        points = nodes if root is None else nodes @ root
        if init is not None:
            init = _made_up(init if root is None else init @ root, points, size)
        _, parent = cluster(points, size, init=init, **options)
        parents.append(parent)
        node = parent[node]
        nodes = means(vectors, node, size)  # means of items, not of the nodes below
        node_vectors.append(nodes)
    return HierarchicalIndex.build(items, parents, vectors, direction, node_vectors)


def cluster(
    vectors: np.ndarray,
    k: int,
    *,
    seed: int,
    iterations: int = ITERATIONS,
    points_per_node: int = POINTS_PER_NODE,
    progress: bool = False,
    init: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Runs FAISS k-means and repairs empty clusters.

    The rows are first put into a canonical order, and the clusters are numbered in that order. The
    result therefore does not depend on the order of the input.

    Args:
        vectors: Shape (N, D), float32.
        k: Number of clusters, at most N.
        seed: Seed of the sample and of the initial centres.
        iterations: Largest number of Lloyd iterations; k-means stops earlier when it hardly gains
            (``TOLERANCE``).
        points_per_node: If there are more than k times this many points, the centres are learnt
            from a sample of that size.
        progress: Whether to show a bar.
        init: Initial centres, shape (k, D); None means k-means++ seeds.

    Returns:
        Centres, shape (k, D), each the mean of its members, and the assignment, shape (N,). No
        cluster is empty.

    Raises:
        ValueError: If k exceeds N, ``points_per_node`` is less than 1, or a vector is not finite.
        ImportError: If FAISS is not installed.
    """
    n, dim = vectors.shape
    if not 1 <= k <= n:
        raise ValueError(f"nodes_per_depth asks for {k} nodes over {n} points")
    if points_per_node < 1:
        raise ValueError(f"kmeans_points_per_node must be at least 1, got {points_per_node}")
    require_finite("item vectors", vectors)
    order = _canonical_order(vectors)
    points = np.ascontiguousarray(vectors[order], dtype=np.float32)
    if k == n:
        assignment = np.arange(n)
    else:
        sample = points
        if n > k * points_per_node:
            drawn = np.random.default_rng(seed).choice(n, k * points_per_node, replace=False)
            sample = points[np.sort(drawn)]
        centres = _lloyd(sample, k, seed, iterations, progress, init)
        assignment = _assign(points, centres, progress)
        _fill_empty(points, assignment, k)
        # Number the clusters by their first member in the canonical order.
        first = np.unique(assignment, return_index=True)[1]
        assignment = np.argsort(np.argsort(first))[assignment]
    centres = means(points, assignment, k)
    unsorted = np.empty(n, dtype=np.int64)
    unsorted[order] = assignment
    return centres.reshape(k, dim), unsorted


def _canonical_order(vectors: np.ndarray) -> np.ndarray:
    """Sorts rows by their first column, ties by the next column, and so on, shape (N,).

    In real vectors, two columns decide the order of nearly every row. Only rows that share both are
    sorted by the other columns: sorting by all columns takes minutes for millions of rows.
    """
    order = np.lexsort(vectors[:, 1::-1].T)
    first = vectors[order, :2]
    same = np.concatenate(([False], (first[1:] == first[:-1]).all(1), [False]))
    tied = np.flatnonzero(same[:-1] | same[1:])
    rows = order[tied]
    order[tied] = rows[np.lexsort(vectors[rows].T[::-1])]
    return order


def _lloyd(points, k: int, seed: int, iterations: int, progress: bool, init) -> np.ndarray:
    """Runs FAISS k-means, one iteration at a time, so that the bar shows the progress."""
    faiss = require_faiss("EM index learning")
    kmeans = faiss.Clustering(points.shape[1], k)
    kmeans.niter, kmeans.seed = 1, seed % 2**31
    kmeans.min_points_per_centroid = 1
    kmeans.max_points_per_centroid = -(-len(points) // k)  # all points: the sample is already drawn
    centres = _seeds(points, k, seed) if init is None else init
    centres = np.ascontiguousarray(centres, dtype=np.float32)
    index = faiss.IndexFlatL2(points.shape[1])
    before = np.inf
    for _ in tqdm(
        range(iterations), desc=f"k-means {k}", disable=not progress or None, leave=False
    ):
        faiss.copy_array_to_vector(centres.ravel(), kmeans.centroids)
        index.reset()
        kmeans.train(points, index)
        centres = faiss.vector_to_array(kmeans.centroids).reshape(k, -1)
        of_last = kmeans.iteration_stats.at(kmeans.iteration_stats.size() - 1).obj
        if of_last >= (1 - TOLERANCE) * before:
            break
        before = of_last
    return centres


def _seeds(points: np.ndarray, k: int, seed: int, rounds: int = 1000) -> np.ndarray:
    """Draws k points by greedy k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Each round draws candidates with probability proportional to their squared distance from the
    points chosen before, and chooses the candidate that lowers the sum of these distances most. For
    more than ``rounds`` seeds this would cost more than k-means itself. A round then chooses all
    candidates of a batch, and there are at most ``BATCHES`` rounds.

    Args:
        points: Shape (N, D).
        k: Number of seeds, at most N.
        seed: Seed of the draws.
        rounds: Largest k for which the greedy form is used, with one seed a round; otherwise an
            upper bound on the number of batches.

    Returns:
        Shape (k, D). The rows are different points; up to rounding, their vectors differ as long as
        there are enough different vectors.
    """
    rng = np.random.default_rng(seed)
    greedy = k <= rounds
    n_drawn = 2 + int(np.log(k)) if greedy else -(-k // min(rounds, BATCHES))
    norms = np.einsum("nd,nd->n", points, points)
    transposed = np.ascontiguousarray(points.T)
    everywhere = slice(None)
    blocks = [slice(i, i + SEED_BLOCK) for i in range(0, len(points), SEED_BLOCK)]

    def distances_to(rows, block):  # squared, shape (len(rows), block)
        squared = (-2 * points[rows]) @ transposed[:, block]
        squared += norms[block]
        squared += norms[rows, None]
        return np.maximum(squared, 0, out=squared)

    chosen = rng.integers(len(points), size=1)
    shortest = distances_to(chosen, everywhere)[0]
    shortest[chosen] = 0  # rounding may leave another value
    while len(chosen) < k:
        cumulated = np.cumsum(shortest, dtype=np.float64)
        if cumulated[-1] == 0:  # all other points repeat chosen points
            others = np.setdiff1d(np.arange(len(points)), chosen)
            return points[np.concatenate((chosen, others))[:k]]
        draws = rng.random(n_drawn if greedy else min(n_drawn, k - len(chosen))) * cumulated[-1]
        drawn = np.unique(np.searchsorted(cumulated, draws, side="right").clip(max=len(points) - 1))
        if greedy:
            distances = np.minimum(distances_to(drawn, everywhere), shortest)
            best = distances.sum(1).argmin()
            drawn, shortest = drawn[[best]], distances[best]
        else:
            for block in blocks:
                nearest = distances_to(drawn, block).min(0)
                np.minimum(shortest[block], nearest, out=shortest[block])
        shortest[drawn] = 0
        chosen = np.concatenate((chosen, drawn))
    return points[chosen]


def _made_up(centres: np.ndarray, points: np.ndarray, k: int) -> np.ndarray:
    """Adds the points that are farthest from their nearest centre, until there are k centres."""
    if len(centres) == k:
        return centres
    distance = ((points - centres[_assign(points, centres, progress=False)]) ** 2).sum(1)
    farthest = np.argsort(-distance, kind="stable")[: k - len(centres)]
    return np.concatenate((centres, points[farthest]))


def _assign(points: np.ndarray, centres: np.ndarray, progress: bool) -> np.ndarray:
    index = require_faiss("EM index learning").IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centres))
    nearest = np.empty(len(points), dtype=np.int64)
    starts = range(0, len(points), ASSIGN_BLOCK)
    for start in tqdm(starts, desc="assign", disable=not progress or None, leave=False):
        block = slice(start, start + ASSIGN_BLOCK)
        nearest[block] = index.search(points[block], 1)[1][:, 0]
    return nearest


def _fill_empty(points: np.ndarray, assignment: np.ndarray, k: int) -> None:
    """Gives each empty cluster one point, the farthest from its centre in a shared cluster."""
    counts = np.bincount(assignment, minlength=k)
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return
    used, compact = np.unique(assignment, return_inverse=True)
    distance = squared_distances(points, means(points, compact, len(used)), compact)
    # The member nearest to a cluster's centre stays; the other members may go, farthest first.
    order = np.lexsort((np.arange(len(points)), distance, assignment))
    nearest = order[np.searchsorted(assignment[order], used)]
    free = np.ones(len(points), dtype=bool)
    free[nearest] = False
    candidates = np.flatnonzero(free)
    chosen = candidates[np.argsort(-distance[candidates], kind="stable")[: len(empty)]]
    assignment[chosen] = empty


def _residual_codes(vectors, items, sizes: tuple[int, ...], options: dict) -> HierarchicalIndex:
    residual, codes, codebooks = vectors, [], []  # coarsest first
    for size in reversed(sizes):
        codewords, code = cluster(residual, size, **options)
        residual = residual - codewords[code]
        codes.append(code)
        codebooks.append(codewords)
    return tree_of_codes(items, codes, codebooks, vectors)


def check_sizes(
    nodes_per_depth: Sequence[int], direction: str, n_items: int | None = None
) -> tuple[int, ...]:
    """Returns K_1, ..., K_L as a tuple.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        direction: ``bottom_up`` | ``top_down``.
        n_items: I; None skips the comparison with the number of items.

    Raises:
        ValueError: If the sizes are not positive integers, ask for more nodes than there are items,
            or (``bottom_up``) grow upward.
    """
    one_of("index_direction", direction, DIRECTIONS)
    sizes = tuple(nodes_per_depth) if isinstance(nodes_per_depth, Sequence) else ()
    if not sizes or any(
        not isinstance(size, Integral) or isinstance(size, bool) or size < 1 for size in sizes
    ):
        raise ValueError(f"nodes_per_depth must be positive integers, got {nodes_per_depth!r}")
    below = n_items
    for depth, size in enumerate(sizes, start=1):
        if below is not None and size > below:
            raise ValueError(
                f"nodes_per_depth {list(sizes)} asks for {size} nodes at depth {depth}, "
                f"over {below}"
            )
        if direction == "bottom_up":
            below = size
    return sizes
