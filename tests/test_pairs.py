"""The pairs of test-time training and their random controls."""

import gzip
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_hill.adapt.controls import random_nodes, random_users
from recbole_hill.adapt.pairs import Pairs, extract_pairs

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "gowalla" / "train.txt.gz"

# Items 0-4 are in node 0, items 5 and 6 in node 1, item 7 in node 2. At depth 2, nodes 0 and 1 are
# in node 0, node 2 is in node 1.
PARENTS = [np.array([0, 0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 1])]
# Two depths of 20 and 6 nodes.
TREE = [np.repeat(np.arange(20), 3), np.arange(20) % 6]
OWNED = sp.csr_matrix(
    np.array(
        [
            [1, 1, 1, 1, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 1, 0, 1],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 1, 1, 0],
        ]
    )
)


def rows(pairs):
    columns = pairs.depths, pairs.users, pairs.nodes, pairs.rates
    return list(zip(*(column.tolist() for column in columns), strict=True))


def extract(**settings):
    return extract_pairs(OWNED, PARENTS, **({"thresholds": [0.8, 0.6], "phi_dep": 2} | settings))


def many(seed=0):
    rng = np.random.default_rng(seed)
    owned = sp.random(80, 60, 0.3, format="csr", random_state=rng)
    parents = [np.append(rng.integers(20, size=59), 19), np.append(rng.integers(6, size=19), 5)]
    pairs = extract_pairs(owned, parents, thresholds=[0.5, 0.5], phi_dep=2)
    assert min(pairs.per_depth().values()) > 20
    return pairs


# --- extraction ----------------------------------------------------------------------------------


def test_by_hand():
    assert rows(extract()) == [
        (1, 0, 0, 0.8),
        (1, 1, 2, 1.0),
        (1, 3, 1, 1.0),
        (2, 1, 0, 1.0),  # user 1 touches both children of node 0
        (2, 1, 1, 1.0),
    ]
    assert rows(extract(propagate="qualified")) == [
        (1, 0, 0, 0.8),
        (1, 1, 2, 1.0),
        (1, 3, 1, 1.0),
        (2, 1, 1, 1.0),
    ]
    assert rows(extract(rate="concentration")) == [
        (1, 0, 0, 1.0),
        (1, 3, 1, 1.0),
        (2, 0, 0, 1.0),
        (2, 1, 0, 2 / 3),
        (2, 3, 0, 1.0),
    ]


def test_types_and_shape():
    pairs = extract()
    for array in (pairs.users, pairs.nodes, pairs.depths):
        assert array.dtype == np.int64
    assert pairs.rates.dtype == np.float64
    assert len(pairs) == 5


def test_phi_dep_and_counts_per_depth():
    assert extract().per_depth() == {1: 3, 2: 2}
    assert extract(phi_dep=1).per_depth() == {1: 3}
    nobody = extract_pairs(OWNED[2:3], PARENTS, thresholds=[0, 0], phi_dep=2)
    assert len(nobody) == 0
    assert nobody.per_depth() == {1: 0, 2: 0}


def test_at_depth():
    assert rows(extract().at_depth(2)) == [(2, 1, 0, 1.0), (2, 1, 1, 1.0)]
    assert extract().at_depth(2).per_depth() == {1: 0, 2: 2}
    assert extract().at_depth(1).per_depth() == {1: 3, 2: 0}
    assert len(extract(phi_dep=1).at_depth(2)) == 0


def test_min_children_filters_what_is_emitted_not_the_climb():
    # Depth-1 nodes have 5, 2 and 1 children, depth-2 nodes 2 and 1.
    assert rows(extract(min_children=2)) == [(1, 0, 0, 0.8), (1, 3, 1, 1.0), (2, 1, 0, 1.0)]
    assert rows(extract(min_children=3)) == [(1, 0, 0, 0.8)]
    # Node 2 at depth 1 is not emitted, but as user 1's only qualified node it still leads upward.
    parents = [PARENTS[0], np.array([0, 1, 1])]
    pairs = extract_pairs(
        OWNED, parents, thresholds=[0.8, 0.5], phi_dep=2, min_children=2, propagate="qualified"
    )
    assert rows(pairs) == [(1, 0, 0, 0.8), (1, 3, 1, 1.0), (2, 1, 1, 0.5), (2, 3, 1, 0.5)]


def test_min_children_below_one():
    with pytest.raises(ValueError, match="min_children must be at least 1, got 0"):
        extract(min_children=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="interest_thresholds"):
        extract(thresholds=[2, 0])
    with pytest.raises(ValueError, match="phi_dep"):
        extract(phi_dep=3)


def test_permuting_users_permutes_the_pairs():
    rng = np.random.default_rng(1)
    order = rng.permutation(4)
    moved = extract_pairs(OWNED[order], PARENTS, thresholds=[0.8, 0.6], phi_dep=2)
    back = sorted((depth, int(order[user]), node, rate) for depth, user, node, rate in rows(moved))
    assert back == rows(extract())


def test_unequal_arrays():
    one, two = np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)
    with pytest.raises(ValueError, match="equally long"):
        Pairs(one, two, one, np.zeros(1))


@pytest.mark.slow
def test_gowalla_takes_seconds_and_is_right():
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not here")
    with gzip.open(REAL, "rt") as file:
        owned = [list(map(int, line.split()[1:])) for line in file]
    users = np.repeat(np.arange(len(owned)), [len(items) for items in owned])
    items = np.concatenate(owned)
    matrix = sp.csr_matrix((np.ones(len(items)), (users, items)))
    # Neighbouring ids share users, so that a tree of ranges has pairs at both depths.
    parents = [np.arange(40_981) * 8000 // 40_981, np.arange(8000) // 10]
    start = time.perf_counter()
    pairs = extract_pairs(matrix, parents, thresholds=[0.8, 0.4], phi_dep=2)
    assert time.perf_counter() - start < 5
    members = [np.bincount(parent) for parent in parents]
    expected = []
    for user, mine in enumerate(owned):
        first = Counter(parents[0][mine].tolist())
        second = Counter(parents[1][list(first)].tolist())
        for depth, counts in ((1, first), (2, second)):
            theta = (0.8, 0.4)[depth - 1]
            expected += [
                (depth, user, node, n / members[depth - 1][node])
                for node, n in counts.items()
                if n >= theta * members[depth - 1][node]
            ]
    assert rows(pairs) == sorted(expected)
    assert min(pairs.per_depth().values()) > 1000


# --- controls ------------------------------------------------------------------------------------


def test_random_nodes_keep_users_and_depths_and_draw_uniformly():
    pairs = many()
    drawn = random_nodes(pairs, TREE, np.random.default_rng(0))
    for kept in ("users", "depths", "rates"):
        assert (getattr(drawn, kept) == getattr(pairs, kept)).all()
    assert drawn.per_depth() == pairs.per_depth()
    assert (drawn.nodes != pairs.nodes).mean() > 0.5
    # 4,000 draws of each depth: every node within five standard deviations of its share.
    rng = np.random.default_rng(1)
    depths = np.repeat([1, 2], 4000)
    zeros = np.zeros(8000, dtype=np.int64)
    drawn = random_nodes(Pairs(zeros, zeros, depths, np.ones(8000)), TREE, rng)
    for depth, n_nodes in ((1, 20), (2, 6)):
        counts = np.bincount(drawn.at_depth(depth).nodes)
        share = 4000 / n_nodes
        assert len(counts) == n_nodes
        assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()


def test_random_nodes_have_as_many_children_as_those_of_real_pairs():
    zeros = np.zeros(200, dtype=np.int64)
    pairs = Pairs(zeros, zeros, np.ones(200, dtype=np.int64), np.ones(200))
    for least, nodes in ((1, {0, 1, 2}), (2, {0, 1}), (3, {0})):
        drawn = random_nodes(pairs, PARENTS, np.random.default_rng(0), min_children=least)
        assert set(drawn.nodes.tolist()) == nodes


def test_random_nodes_need_every_depth():
    with pytest.raises(ValueError, match="the index has 1 depths, none at 2"):
        random_nodes(many(), TREE[:1], np.random.default_rng(0))


def test_random_users_keep_nodes_and_how_often_everyone_occurs():
    pairs = many()
    drawn = random_users(pairs, np.random.default_rng(0))
    for kept in ("nodes", "depths", "rates"):
        assert (getattr(drawn, kept) == getattr(pairs, kept)).all()
    assert (drawn.users != pairs.users).mean() > 0.5
    for depth in (1, 2):
        real, random = pairs.at_depth(depth).users, drawn.at_depth(depth).users
        assert Counter(random.tolist()) == Counter(real.tolist())


@pytest.mark.parametrize("control", ["nodes", "users"])
def test_controls_are_seeded_and_leave_the_pairs_alone(control):
    pairs, before = many(), rows(many())

    def draw(seed):
        rng = np.random.default_rng(seed)
        return random_nodes(pairs, TREE, rng) if control == "nodes" else random_users(pairs, rng)

    assert rows(draw(3)) == rows(draw(3)) != rows(draw(4))
    assert rows(pairs) == before


def test_controls_of_no_pairs():
    none = extract_pairs(OWNED[2:3], PARENTS, thresholds=[0, 0], phi_dep=2)
    rng = np.random.default_rng(0)
    assert len(random_nodes(none, PARENTS, rng)) == len(random_users(none, rng)) == 0
