"""Index learning by EM (HILL, section 3.5): the E-step is k-means, depth by depth.

The M-step trains the backbone with the current nodes as extra targets: see
:meth:`recbole_hill.model.hill.HILL.em_loss`.
"""

from collections.abc import Mapping, Sequence
from numbers import Integral

import numpy as np
from tqdm import tqdm

from recbole_hill.checks import integer, one_of, require_finite
from recbole_hill.host.optional import require_faiss
from recbole_hill.index.codes import tree_of_codes
from recbole_hill.index.hierarchy import DIRECTIONS, HierarchicalIndex, means, squared_distances
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.score_space import score_map

#: Rounds of batched k-means++. On Gowalla (8,000 of 40,981) 32 to 1,000 rounds end in the same
#: objective within 0.4 %, 9 % below random seeds, while 1,000 rounds cost a fifth of k-means.
BATCHES = 128
#: An iteration that lowers the sum of squared distances by a smaller share is the last. On Gowalla
#: it is the 12th of 20; the other eight would lower the sum by 0.03 %.
TOLERANCE = 1e-4
#: Iterations of one k-means, at most.
ITERATIONS = 20
#: Points per node that a k-means learns from, at most; FAISS's own number.
POINTS_PER_NODE = 256
METRICS = ("items", "scores")
#: Points whose distances to a round's candidates are computed together, to stay in cache.
SEED_BLOCK = 1 << 13
#: Points assigned between two steps of the bar; a multiple of FAISS's own block of 4096 queries.
ASSIGN_BLOCK = 1 << 17


class EMLearner(IndexLearner):
    """k-means over items, then over nodes; ``rounds`` M-steps train the backbone on the nodes.

    Settings: ``nodes_per_depth``, ``index_direction``, ``index_metric``, ``em_rounds``, ``seed``.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        direction: ``bottom_up`` | ``top_down``, see :func:`kmeans_index`.
        metric: ``items`` (distances of item vectors) | ``scores`` (of what users score).
        rounds: M-steps.
        seed: Of the k-means++ seeds.
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
        if one_of("index_metric", metric, METRICS) == "scores" and direction != "bottom_up":
            raise ValueError(
                f"index_metric scores is for index_direction bottom_up, got {direction}; "
                "there accepted is items"
            )
        self.direction, self.metric = direction, metric
        self.rounds = integer("em_rounds", rounds, least=0)
        self.seed, self.progress = seed, progress

    @classmethod
    def from_settings(cls, settings: Mapping, *, n_items: int, dim: int | None) -> "EMLearner":
        """Reads the settings of the class's docstring."""
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
        """Clusters the items (E-step), from the centres of ``start`` where there are any."""
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

    ``bottom_up`` clusters the items into K_1 nodes, those nodes' vectors into K_2, and so on.
    ``top_down`` quantises residuals coarse to fine: K_L codewords over the vectors, K_{L-1} over
    what they leave, ...; a node is a code prefix that occurs, its vector the sum of the codewords
    on its path, so that the number of nodes at depth d lies between K_d and the number of items.

    Args:
        item_vectors: Shape (I, D).
        items: External item ids, (I,).
        nodes_per_depth: K_1, ..., K_L; not growing for ``bottom_up``.
        direction: ``bottom_up`` | ``top_down``.
        seed: Of the k-means++ seeds.
        iterations: Of each k-means, at most; it stops when it hardly gains (``TOLERANCE``).
        points_per_node: Size of the sample that a k-means learns from, over its number of nodes;
            every point is assigned.
        progress: Whether to show a bar.
        starts: Centres to start from (``bottom_up``), per depth at most K_d rows. Points far from
            all of them make up for missing ones. None at a depth: k-means++ seeds.
        user_vectors: Shape (U, D); with them items are near each other if users *score* them alike
            (``bottom_up``): k-means then lowers the mean over users of (score of the item - score
            of its node)^2, in which a direction that no user looks along counts for nothing.

    Raises:
        ValueError: If the sizes or vectors do not fit; names the value and what is accepted.
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
    parents, found, nodes, node = [], [], vectors, np.arange(len(vectors))
    for size, init in zip(sizes, starts, strict=True):
        points = nodes if root is None else nodes @ root
        if init is not None:
            init = _made_up(init if root is None else init @ root, points, size)
        _, parent = cluster(points, size, init=init, **options)
        parents.append(parent)
        node = parent[node]
        nodes = means(vectors, node, size)  # of items, not of the nodes below
        found.append(nodes)
    return HierarchicalIndex.build(items, parents, vectors, direction, found)


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

    The rows are put into a canonical order first and the clusters are numbered in that order, so
    that the order of the input decides nothing but which row is called what.

    Args:
        vectors: Shape (N, D), float32.
        k: Number of clusters, at most N.
        seed: Of the sample and the initialisation.
        iterations: Lloyd iterations at most; it stops when it hardly gains (``TOLERANCE``).
        points_per_node: If there are more than k times as many points, the centres are learnt from
            a sample of that size.
        progress: Whether to show a bar.
        init: Initial centres, shape (k, D).

    Returns:
        Centres (k, D), the means of their members, and assignment (N,); no cluster is empty.

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
    """Sorts rows by their first column, ties by the next, and so on, shape (N,).

    Two columns decide nearly every row of real vectors; only rows that share both are sorted by the
    others, where sorting by all columns costs minutes over millions of rows.
    """
    order = np.lexsort(vectors[:, 1::-1].T)
    first = vectors[order, :2]
    same = np.concatenate(([False], (first[1:] == first[:-1]).all(1), [False]))
    tied = np.flatnonzero(same[:-1] | same[1:])
    rows = order[tied]
    order[tied] = rows[np.lexsort(vectors[rows].T[::-1])]
    return order


def _lloyd(points, k: int, seed: int, iterations: int, progress: bool, init) -> np.ndarray:
    """FAISS k-means, an iteration at a time so that it can show how far it is."""
    faiss = require_faiss("EM index learning")
    kmeans = faiss.Clustering(points.shape[1], k)
    kmeans.niter, kmeans.seed = 1, seed % 2**31
    kmeans.min_points_per_centroid = 1
    kmeans.max_points_per_centroid = -(-len(points) // k)  # all: the sample is drawn already
    centres = _seeds(points, k, seed) if init is None else init
    centres = np.ascontiguousarray(centres, dtype=np.float32)
    index = faiss.IndexFlatL2(points.shape[1])
    before = np.inf
    for _ in tqdm(range(iterations), desc=f"k-means {k}", disable=not progress, leave=False):
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
    """Draws k points by k-means++ (Arthur and Vassilvitskii, SODA 2007), its greedy form.

    Every round draws candidates with probability proportional to their squared distance from the
    points chosen before, and takes the one that lowers the sum of these distances most. Above
    ``rounds`` points, where that would cost more than k-means itself, a round takes all of a batch
    of candidates instead, in at most ``BATCHES`` rounds.

    Args:
        points: Shape (N, D).
        k: Number of seeds, at most N.
        seed: Of the draws.
        rounds: Up to how many seeds it is greedy, one a round; and a bound on the batches else.

    Returns:
        Shape (k, D); different rows, and (up to rounding) different vectors as long as there are.
    """
    rng = np.random.default_rng(seed)
    greedy = k <= rounds
    n_drawn = 2 + int(np.log(k)) if greedy else -(-k // min(rounds, BATCHES))
    norms = np.einsum("nd,nd->n", points, points)
    transposed = np.ascontiguousarray(points.T)
    everywhere = slice(None)
    blocks = [slice(i, i + SEED_BLOCK) for i in range(0, len(points), SEED_BLOCK)]

    def distances_to(rows, block):  # squared, shape (len(rows), block)
        found = (-2 * points[rows]) @ transposed[:, block]
        found += norms[block]
        found += norms[rows, None]
        return np.maximum(found, 0, out=found)

    chosen = rng.integers(len(points), size=1)
    shortest = distances_to(chosen, everywhere)[0]
    shortest[chosen] = 0  # whatever rounding has left
    while len(chosen) < k:
        cumulated = np.cumsum(shortest, dtype=np.float64)
        if cumulated[-1] == 0:  # only repetitions of the chosen points are left
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
    """Adds the points farthest from their nearest centre until there are k centres."""
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
    for start in tqdm(starts, desc="assign", disable=not progress, leave=False):
        block = slice(start, start + ASSIGN_BLOCK)
        nearest[block] = index.search(points[block], 1)[1][:, 0]
    return nearest


def _fill_empty(points: np.ndarray, assignment: np.ndarray, k: int) -> None:
    """Gives each empty cluster one point: the farthest from its centre among shared clusters."""
    counts = np.bincount(assignment, minlength=k)
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return
    used, compact = np.unique(assignment, return_inverse=True)
    distance = squared_distances(points, means(points, compact, len(used)), compact)
    # A cluster's nearest member stays; the others may go, farthest first.
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

    Raises:
        ValueError: If they are not positive integers, grow upward in a ``bottom_up`` index, or ask
            for more nodes than there are items.
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
