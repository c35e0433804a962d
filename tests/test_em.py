"""K-means over planted data, both directions, invariances and repairs."""

import numpy as np
import pytest

from planted import planted_hierarchy, same_partition
from recbole_hill.index.em import cluster, learn_index


@pytest.fixture
def planted():
    return planted_hierarchy(np.random.default_rng(0), n_coarse=4, n_fine=3, n_items=20)


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
def test_planted_hierarchy_is_recovered(planted, direction):
    vectors, fine, coarse = planted
    items = [str(i) for i in range(len(vectors))]
    # Residual codes share codewords between parents: 3 offsets cannot serve 4 groups, 12 can.
    best = max(
        (
            learn_index(vectors, items, [12, 4], direction=direction, seed=seed, iterations=30)
            for seed in range(5)
        ),
        key=lambda index: -((vectors - index.vectors[1][index.assignments(2)]) ** 2).sum()
        - ((vectors - index.vectors[0][index.assignments(1)]) ** 2).sum(),
    )
    assert same_partition(best.assignments(2), coarse)
    if direction == "bottom_up":
        assert same_partition(best.assignments(1), fine)
    else:
        finer = set(zip(best.assignments(1).tolist(), fine.tolist(), strict=True))
        assert len(finer) == best.nodes_per_depth[0]  # no node mixes two leaves


def test_top_down_vectors_are_sums_of_codewords_on_the_path(planted):
    vectors, _, _ = planted
    items = [str(i) for i in range(len(vectors))]
    index = learn_index(vectors, items, [6, 3], direction="top_down", seed=0)
    coarse = index.vectors[1][index.parents[1]]
    np.testing.assert_allclose(
        index.vectors[1], [vectors[index.assignments(2) == n].mean(0) for n in range(3)], atol=1e-4
    )
    offsets = index.vectors[0] - coarse
    assert len(np.unique(offsets.round(3), axis=0)) <= 6 < index.nodes_per_depth[0]


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
def test_permuting_items_only_relabels(planted, direction):
    vectors, _, _ = planted
    items = np.array([str(i) for i in range(len(vectors))])
    order = np.random.default_rng(1).permutation(len(vectors))
    a = learn_index(vectors, items, [15, 4], direction=direction, seed=3)
    b = learn_index(vectors[order], items[order], [15, 4], direction=direction, seed=3)
    for depth in (1, 2):
        assert same_partition(a.assignments(depth)[order], b.assignments(depth))


def test_centres_are_means_and_assignment_is_nearest_at_convergence(planted):
    vectors, _, _ = planted
    centres, assignment = cluster(vectors, 12, seed=0, iterations=50)
    for node in range(12):
        np.testing.assert_allclose(centres[node], vectors[assignment == node].mean(0), atol=1e-5)
    distance = ((vectors[:, None] - centres) ** 2).sum(2)
    np.testing.assert_array_equal(distance.argmin(1), assignment)


@pytest.mark.parametrize(("distinct", "n", "k"), [(1, 10, 4), (3, 12, 12), (2, 50, 30), (5, 6, 6)])
def test_no_cluster_is_empty_even_with_repeated_vectors(distinct, n, k):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(distinct, 4)).astype(np.float32)[rng.integers(0, distinct, n)]
    _, assignment = cluster(vectors, k, seed=0)
    assert sorted(set(assignment.tolist())) == list(range(k))


def test_same_seed_same_index(planted):
    vectors, _, _ = planted
    runs = [cluster(vectors, 20, seed=s)[1] for s in (5, 5, 6)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_previous_index_is_where_the_next_round_starts(planted):
    vectors, _, _ = planted
    items = [str(i) for i in range(len(vectors))]
    first = learn_index(vectors, items, [20, 5], seed=0, iterations=30)
    other = learn_index(vectors, items, [20, 5], seed=9, iterations=1, previous=first)
    for depth in (1, 2):
        assert same_partition(first.assignments(depth), other.assignments(depth))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([241], "241 nodes at depth 1, over 240"),
        ([8, 12], "12 nodes at depth 2, over 8"),
        ([], "positive integers"),
        ([0], "positive integers"),
    ],
)
def test_sizes_are_checked(planted, sizes, message):
    vectors, _, _ = planted
    with pytest.raises(ValueError, match=message):
        learn_index(vectors, [str(i) for i in range(240)], sizes, seed=0)


def test_diverged_vectors_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        cluster(np.full((5, 2), np.nan, dtype=np.float32), 2, seed=0)


def test_equal_sizes_as_table_6_prints_them(planted):
    vectors, _, _ = planted
    index = learn_index(vectors, [str(i) for i in range(240)], [30, 30, 8, 2], seed=0)
    assert index.nodes_per_depth == (30, 30, 8, 2)
    np.testing.assert_array_equal(np.sort(index.parents[1]), np.arange(30))
