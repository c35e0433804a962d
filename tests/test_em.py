"""K-means over planted data, both directions, invariances and repairs."""

import sys

import numpy as np
import pytest
from planted import planted_hierarchy, same_partition

from recbole_hill.index import em
from recbole_hill.index.em import cluster, kmeans_index


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
            kmeans_index(vectors, items, [12, 4], direction=direction, seed=seed, iterations=30)
            for seed in range(5)
        ),
        key=lambda index: (
            -((vectors - index.vectors[1][index.assignments(2)]) ** 2).sum()
            - ((vectors - index.vectors[0][index.assignments(1)]) ** 2).sum()
        ),
    )
    assert same_partition(best.assignments(2), coarse)
    if direction == "bottom_up":
        assert same_partition(best.assignments(1), fine)
    else:
        finer = set(zip(best.assignments(1).tolist(), fine.tolist(), strict=True))
        assert len(finer) == best.nodes_per_depth[0]  # no node mixes two leaves


@pytest.mark.parametrize("seed", range(5))
def test_many_planted_leaves_are_recovered_from_any_seed(seed):
    made = planted_hierarchy(np.random.default_rng(seed), n_coarse=8, n_fine=10, n_items=6)
    vectors, fine, coarse = made
    items = [str(i) for i in range(len(vectors))]
    index = kmeans_index(vectors, items, [80, 8], seed=seed)
    assert same_partition(index.assignments(1), fine)
    assert same_partition(index.assignments(2), coarse)


def test_top_down_recovers_additive_codes():
    rng = np.random.default_rng(0)
    # 4 far places x 3 offsets that they share, 10 items each: residual codes are made for this.
    places, offsets = 10 * np.eye(8)[:4], 2 * np.eye(8)[4:7]
    code = rng.permutation(np.repeat(np.arange(12), 10))
    vectors = places[code // 3] + offsets[code % 3] + rng.normal(scale=0.01, size=(120, 8))
    items = [str(i) for i in range(120)]
    index = kmeans_index(vectors, items, [3, 4], direction="top_down", seed=0)
    assert index.nodes_per_depth == (12, 4)
    assert same_partition(index.assignments(1), code)
    assert same_partition(index.assignments(2), code // 3)
    np.testing.assert_allclose(
        index.vectors[0][index.assignments(1)],
        places[code // 3] + offsets[code % 3],
        atol=0.02,
    )


def test_third_depth_clusters_means_of_items():
    # Depth-1 nodes 0 | 1 1 1 1 ... : the mean of the items is not the mean of the nodes.
    vectors = np.array([[0.0], [4.0], [4.1], [4.2], [4.3], [9.0], [13.0], [13.1]])
    vectors = np.c_[vectors, np.zeros(8)].astype(np.float32)
    points = []
    original = em.cluster

    def watched(vectors, k, **options):
        points.append(vectors)
        return original(vectors, k, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(em, "cluster", watched)
        index = kmeans_index(vectors, list("abcdefgh"), [4, 2, 1], seed=0)
    assert sorted(np.bincount(index.assignments(1)).tolist()) == [1, 1, 2, 4]
    expected = [vectors[index.assignments(2) == node].mean(0) for node in range(2)]
    np.testing.assert_allclose(points[2], expected, rtol=1e-6)


def test_top_down_vectors_are_sums_of_codewords_on_the_path(planted):
    vectors, _, _ = planted
    items = [str(i) for i in range(len(vectors))]
    index = kmeans_index(vectors, items, [6, 3], direction="top_down", seed=0)
    coarse = index.vectors[1][index.parents[1]]
    np.testing.assert_allclose(
        index.vectors[1], [vectors[index.assignments(2) == n].mean(0) for n in range(3)], atol=1e-4
    )
    offsets = index.vectors[0] - coarse
    assert len(np.unique(offsets.round(3), axis=0)) <= 6 < index.nodes_per_depth[0]


def test_with_users_what_they_do_not_look_at_does_not_count(planted):
    vectors, fine, coarse = planted
    rng = np.random.default_rng(3)
    items = [str(i) for i in range(len(vectors))]
    unseen = 100 * rng.normal(size=(len(vectors), 2))  # far larger than what is planted
    users = np.c_[rng.normal(size=(500, vectors.shape[1])), np.zeros((500, 2))]
    index = kmeans_index(np.c_[vectors, unseen], items, [12, 4], seed=0, user_vectors=users)
    assert same_partition(index.assignments(1), fine)
    assert same_partition(index.assignments(2), coarse)
    in_own_space = [np.c_[vectors, unseen][coarse == coarse[i]].mean(0) for i in range(4)]
    np.testing.assert_allclose(
        index.vectors[1][index.assignments(2)[:4]], in_own_space, rtol=1e-5, atol=1e-4
    )
    without = kmeans_index(np.c_[vectors, unseen], items, [12, 4], seed=0)
    assert not same_partition(without.assignments(2), coarse)


def test_with_users_the_split_of_scores_into_vectors_does_not_matter(planted):
    vectors, fine, coarse = planted
    rng = np.random.default_rng(3)
    users = rng.normal(size=(300, vectors.shape[1]))
    a = rng.normal(size=(vectors.shape[1],) * 2)
    a[0] *= 100  # what users weigh by a hundred, items have a hundredth of
    index = kmeans_index(
        vectors @ np.linalg.inv(a),
        [str(i) for i in range(len(vectors))],
        [12, 4],
        seed=0,
        user_vectors=users @ a.T,
    )
    assert same_partition(index.assignments(1), fine)
    assert same_partition(index.assignments(2), coarse)


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
def test_permuting_items_only_relabels(planted, direction):
    vectors, _, _ = planted
    items = np.array([str(i) for i in range(len(vectors))])
    order = np.random.default_rng(1).permutation(len(vectors))
    a = kmeans_index(vectors, items, [15, 4], direction=direction, seed=3)
    b = kmeans_index(vectors[order], items[order], [15, 4], direction=direction, seed=3)
    for depth in (1, 2):
        assert same_partition(a.assignments(depth)[order], b.assignments(depth))


def test_permuting_rows_permutes_the_assignment_and_keeps_the_centres(planted):
    vectors, _, _ = planted
    order = np.random.default_rng(1).permutation(len(vectors))
    centres, assignment = cluster(vectors, 25, seed=3)
    centres_again, assignment_again = cluster(vectors[order], 25, seed=3)
    np.testing.assert_array_equal(centres_again, centres)
    np.testing.assert_array_equal(assignment_again, assignment[order])


@pytest.mark.parametrize("rounds", [1, 4, 1000])
@pytest.mark.parametrize("k", [1, 2, 9, 40])
def test_seeds_are_different_rows(rounds, k):
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    seeds = em._seeds(points, k, seed=0, rounds=rounds)
    assert seeds.shape == (k, 3) and len(np.unique(seeds, axis=0)) == k


def test_seeds_take_every_distinct_point_before_a_repetition():
    points = np.repeat(np.eye(5, dtype=np.float32), 4, axis=0)
    for rounds in (2, 1000):
        assert len(np.unique(em._seeds(points, 7, seed=0, rounds=rounds), axis=0)) == 5


def test_it_stops_when_nothing_moves(planted, monkeypatch):
    vectors, _, _ = planted
    shown = []
    monkeypatch.setattr(em, "tqdm", lambda steps, **_: (shown.append(i) or i for i in steps))
    cluster(vectors, 12, seed=0, iterations=10_000)
    assert 2 <= len(shown) < 30


def test_progress_is_shown_only_when_asked_for_on_a_terminal(planted, capsys, monkeypatch):
    vectors, _, _ = planted
    cluster(vectors, 5, seed=0)
    assert capsys.readouterr().err == ""
    cluster(vectors, 5, seed=0, progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    cluster(vectors, 5, seed=0, progress=True)
    assert "k-means 5" in capsys.readouterr().err


def test_missing_faiss_is_named(planted, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="EM index learning needs faiss-cpu"):
        cluster(planted[0], 5, seed=0)


def test_empty_clusters_get_the_farthest_points_by_hand():
    points = np.array([[0], [1], [5], [10], [10.5]], dtype=np.float32)
    assignment = np.array([0, 0, 0, 2, 2])
    em._fill_empty(points, assignment, 4)
    # Means are 2 and 10.25: point 2 (value 5) is 3 away from its own, point 0 is 2 away.
    np.testing.assert_array_equal(assignment, [3, 0, 1, 2, 2])


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
    first = kmeans_index(vectors, items, [20, 5], seed=0, iterations=30)
    other = kmeans_index(
        vectors, items, [20, 5], seed=9, iterations=1, starts=first.refreshed(vectors).vectors
    )
    for depth in (1, 2):
        assert same_partition(first.assignments(depth), other.assignments(depth))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([241], "241 nodes at depth 1, over 240"),
        ([8, 12], "12 nodes at depth 2, over 8"),
        ([], "positive integers"),
        ([0], "positive integers"),
        ([2.5], "positive integers"),
        ([True], "positive integers"),
    ],
)
def test_sizes_are_checked(planted, sizes, message):
    vectors, _, _ = planted
    with pytest.raises(ValueError, match=message):
        kmeans_index(vectors, [str(i) for i in range(240)], sizes, seed=0)


def test_codebooks_may_grow_downward_only_in_residual_codes(planted):
    vectors, _, _ = planted
    items = [str(i) for i in range(240)]
    assert kmeans_index(vectors, items, [2, 4], direction="top_down", seed=0).depth == 2
    with pytest.raises(ValueError, match="241 nodes at depth 2, over 240"):
        kmeans_index(vectors, items, [2, 241], direction="top_down", seed=0)
    with pytest.raises(ValueError, match="bottom_up, top_down, got 'sideways'"):
        kmeans_index(vectors, items, [2], direction="sideways", seed=0)


def test_diverged_vectors_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        cluster(np.full((5, 2), np.nan, dtype=np.float32), 2, seed=0)


def test_equal_sizes_as_table_6_prints_them(planted):
    vectors, _, _ = planted
    index = kmeans_index(vectors, [str(i) for i in range(240)], [30, 30, 8, 2], seed=0)
    assert index.nodes_per_depth == (30, 30, 8, 2)
    np.testing.assert_array_equal(np.sort(index.parents[1]), np.arange(30))


def test_few_points_are_all_learnt_from(planted):
    vectors, _, _ = planted
    few, many = (cluster(vectors, 10, seed=0, points_per_node=n)[0] for n in (24, 10_000))
    np.testing.assert_array_equal(few, many)


def test_many_points_are_sampled_and_all_assigned(planted, monkeypatch):
    vectors, fine, _ = planted
    learnt = []
    original = em._lloyd
    monkeypatch.setattr(em, "_lloyd", lambda p, *rest: learnt.append(p) or original(p, *rest))
    centres, assignment = cluster(vectors, 12, seed=0, points_per_node=10)
    assert learnt[0].shape == (120, 16)
    assert len(np.unique(learnt[0], axis=0)) == 120
    assert same_partition(assignment, fine)
    order = np.random.default_rng(1).permutation(len(vectors))
    again = cluster(vectors[order], 12, seed=0, points_per_node=10)
    np.testing.assert_array_equal(again[0], centres)
    np.testing.assert_array_equal(again[1], assignment[order])
    with pytest.raises(ValueError, match="kmeans_points_per_node must be at least 1, got 0"):
        cluster(vectors, 12, seed=0, points_per_node=0)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_canonical_order_is_by_all_columns(dim):
    rng = np.random.default_rng(0)
    for values in (2, 3, 1000):
        vectors = rng.integers(-1, values, size=(400, dim)).astype(np.float32)
        vectors[vectors == 0] *= rng.choice([-1, 1], size=(vectors == 0).sum())  # -0 equals 0
        np.testing.assert_array_equal(em._canonical_order(vectors), np.lexsort(vectors.T[::-1]))


def test_blocks_of_assignment_change_nothing(planted, monkeypatch):
    vectors, _, _ = planted
    whole = cluster(vectors, 12, seed=0)
    monkeypatch.setattr(em, "ASSIGN_BLOCK", 100)
    np.testing.assert_array_equal(cluster(vectors, 12, seed=0)[1], whole[1])
