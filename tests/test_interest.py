"""Interest rates (HILL Eq. 8): by hand, against a slow reference, at the boundary, planted."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_hill.adapt.interest import (
    check_thresholds,
    interest_from_lists,
    interest_rates,
    propagate_interest,
    union,
)

# Items 0-4 are in node 0, items 5 and 6 in node 1, item 7 in node 2. At depth 2, nodes 0 and 1 are
# in node 0, node 2 is in node 1.
PARENTS = [np.array([0, 0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 1])]
USERS = [
    [0, 1, 2, 3],  # 4 of 5 of node 0
    [0, 5, 7],  # 1 of 5, 1 of 2, 1 of 1
    [],
    [5, 6],  # all of node 1
]


def interest(lists, n_items=8):
    matrix = sp.lil_matrix((len(lists), n_items))
    for user, items in enumerate(lists):
        matrix[user, items] = 1
    return matrix.tocsr()


def entries(matrix):
    """Everything stored in a matrix, as {(row, column): value}."""
    matrix = matrix.tocoo()
    return dict(
        zip(
            zip(matrix.row.tolist(), matrix.col.tolist(), strict=True),
            matrix.data.tolist(),
            strict=True,
        )
    )


def reference(lists, parents, thresholds, phi_dep, rate, propagate):
    """The definition, user by user, in exact fractions: per depth {(user, node): rate}, touched."""
    result = []
    current = [set(items) for items in lists]
    for depth in range(1, phi_dep + 1):
        children = defaultdict(set)
        for child, node in enumerate(parents[depth - 1].tolist()):
            children[node].add(child)
        rates, touched, above = {}, {}, []
        for user, owned in enumerate(current):
            qualified, seen = set(), set()
            for node, members in children.items():
                common = len(owned & members)
                if not common:
                    continue
                seen.add(node)
                touched[user, node] = common
                whole = len(members) if rate == "coverage" else len(owned)
                share = Fraction(common, whole)
                if share >= Fraction(str(thresholds[depth - 1])):
                    qualified.add(node)
                    rates[user, node] = float(share)
            above.append(qualified if propagate == "qualified" else seen)
        result.append((rates, touched))
        current = above
    return result


# --- rates ---------------------------------------------------------------------------------------


def test_coverage_by_hand():
    rates = interest_rates(interest(USERS), PARENTS[0])
    assert rates.shape == (4, 3)
    assert entries(rates) == {
        (0, 0): 4 / 5,
        (1, 0): 1 / 5, (1, 1): 1 / 2, (1, 2): 1.0,
        (3, 1): 1.0,
    }  # fmt: skip


def test_concentration_by_hand():
    rates = interest_rates(interest(USERS), PARENTS[0], "concentration")
    assert entries(rates) == {
        (0, 0): 1.0,
        (1, 0): 1 / 3, (1, 1): 1 / 3, (1, 2): 1 / 3,
        (3, 1): 1.0,
    }  # fmt: skip


def test_values_repeats_and_zeros_of_the_matrix_do_not_matter():
    values, columns = [3.0, 1, 1, -2, 0.5, 0], [0, 1, 1, 2, 3, 4]  # item 1 twice, item 4 not at all
    messy = sp.csr_matrix((values, columns, [0, 6, 6, 6, 6]), shape=(4, 8))
    assert messy.nnz == 6
    before = messy.copy()
    assert entries(interest_rates(messy, PARENTS[0])) == {(0, 0): 4 / 5}
    assert entries(propagate_interest(messy, PARENTS, [0.8, 0], 2)[1].touched) == {(0, 0): 1}
    assert (messy.indices == before.indices).all()
    assert (messy.data == before.data).all()


def test_more_nodes_than_parents_name():
    assert interest_rates(interest(USERS), PARENTS[0], n_nodes=5).shape == (4, 5)


@pytest.mark.parametrize(
    ("parent", "n_nodes", "problem"),
    [
        (np.zeros(7, dtype=np.int64), None, r"8 children, got shape \(7,\)"),
        (np.zeros(8), None, "float64"),
        (np.array([0, 0, 0, 0, 0, 0, 0, -1]), None, "from 0 to 0, got -1 to 0"),
        (PARENTS[0], 2, "from 0 to 1, got 0 to 2"),
    ],
)
def test_parents_that_do_not_fit(parent, n_nodes, problem):
    with pytest.raises(ValueError, match=problem):
        interest_rates(interest(USERS), parent, n_nodes=n_nodes)


# --- the climb -----------------------------------------------------------------------------------


def test_climb_by_hand_qualified():
    first, second = propagate_interest(
        interest(USERS), PARENTS, [0.8, 0.5], 2, propagate="qualified"
    )
    assert (first.depth, second.depth) == (1, 2)
    assert entries(first.rates) == {(0, 0): 4 / 5, (1, 2): 1.0, (3, 1): 1.0}
    assert entries(first.touched) == {(0, 0): 4, (1, 0): 1, (1, 1): 1, (1, 2): 1, (3, 1): 2}
    # User 0 brings node 0, user 1 node 2, user 3 node 1.
    assert entries(second.rates) == {(0, 0): 1 / 2, (1, 1): 1.0, (3, 0): 1 / 2}
    assert entries(second.touched) == {(0, 0): 1, (1, 1): 1, (3, 0): 1}


def test_climb_by_hand_touched():
    first, second = propagate_interest(interest(USERS), PARENTS, [0.8, 0.6], 2, propagate="touched")
    assert entries(first.rates) == {(0, 0): 4 / 5, (1, 2): 1.0, (3, 1): 1.0}
    # User 1 touches all three nodes, so both children of node 0; users 0 and 3 one of the two.
    assert entries(second.touched) == {(0, 0): 1, (1, 0): 2, (1, 1): 1, (3, 0): 1}
    assert entries(second.rates) == {(1, 0): 1.0, (1, 1): 1.0}


def test_climb_by_hand_concentration_touched():
    _, second = propagate_interest(interest(USERS), PARENTS, [1, 0.5], 2, rate="concentration")
    assert entries(second.rates) == {(0, 0): 1.0, (1, 0): 2 / 3, (3, 0): 1.0}


def test_phi_dep_stops_the_climb():
    one = propagate_interest(interest(USERS), PARENTS, [0.8, 0.5], 1)
    two = propagate_interest(interest(USERS), PARENTS, [0.8, 0.5], 2)
    assert len(one) == 1
    assert entries(one[0].rates) == entries(two[0].rates)


@pytest.mark.parametrize("rate", ["coverage", "concentration"])
@pytest.mark.parametrize("propagate", ["qualified", "touched"])
def test_against_a_slow_reference(rate, propagate):
    rng = np.random.default_rng(7)
    for thresholds in ([0.8, 0.4, 0.5], [0.3, 0.2, 0.1], [0, 0, 0], [1, 1, 1]):
        lists = [np.unique(rng.integers(60, size=rng.integers(0, 25))).tolist() for _ in range(40)]
        parents = [rng.integers(k, size=n) for n, k in ((60, 20), (20, 6), (6, 2))]
        owned = interest(lists, 60)
        fast = propagate_interest(owned, parents, thresholds, 3, rate=rate, propagate=propagate)
        slow = reference(lists, parents, thresholds, 3, rate, propagate)
        assert len(fast) == len(slow)
        for found, (rates, touched) in zip(fast, slow, strict=True):
            assert entries(found.rates) == rates
            assert entries(found.touched) == touched
            assert found.rates.has_sorted_indices


def test_a_rate_equal_to_its_threshold_qualifies():
    # Node 0 has 1,000 children of which user u owns u: the rate is u/1000.
    n = 1000
    owned = interest([range(u) for u in range(n + 1)], n)
    parent = [np.zeros(n, dtype=np.int64)]
    for tenths in range(1, 11):
        for threshold in (tenths / 10, 0.1 * tenths, sum([0.1] * tenths)):  # .1 * 3 > .3
            (level,) = propagate_interest(owned, parent, [min(threshold, 1.0)], 1)
            assert level.rates.nnz == n - 100 * tenths + 1
            assert level.rates[100 * tenths - 1].nnz == 0


def test_four_of_five_reach_point_eight_in_both_readings():
    owned, parent = interest([[0, 1, 2, 3, 7]]), [np.array([0, 0, 0, 0, 0, 1, 1, 1])]
    for rate in ("coverage", "concentration"):
        (level,) = propagate_interest(owned, parent, [0.8], 1, rate=rate)
        assert entries(level.rates) == {(0, 0): 0.8}
        (level,) = propagate_interest(owned, parent, [0.801], 1, rate=rate)
        assert level.rates.nnz == 0


def test_threshold_zero_keeps_what_is_touched_and_nothing_else():
    (level,) = propagate_interest(interest(USERS), PARENTS, [0], 1)
    assert set(entries(level.rates)) == set(entries(level.touched))
    assert level.rates.nnz == 5


@pytest.mark.parametrize("propagate", ["qualified", "touched"])
def test_planted_owners_of_whole_branches_qualify_exactly_there(propagate):
    rng = np.random.default_rng(3)
    parents = [rng.permutation(np.repeat(np.arange(24), 5)), rng.permutation(np.arange(24) % 6)]
    branch = rng.integers(6, size=50)  # the depth-2 node whose items each user owns
    lists = [np.flatnonzero(parents[1][parents[0]] == b).tolist() for b in branch]
    first, second = propagate_interest(
        interest(lists, 120), parents, [1, 1], 2, propagate=propagate
    )
    expected = {(u, n): 1.0 for u in range(50) for n in np.flatnonzero(parents[1] == branch[u])}
    assert entries(first.rates) == expected
    assert entries(second.rates) == {(u, int(b)): 1.0 for u, b in enumerate(branch)}


def test_permuting_users_permutes_the_rates():
    rng = np.random.default_rng(5)
    owned = sp.random(30, 60, 0.3, format="csr", random_state=rng)
    parents = [rng.integers(20, size=60), rng.integers(6, size=20)]
    order = rng.permutation(30)
    here = propagate_interest(owned, parents, [0.4, 0.4], 2)
    there = propagate_interest(owned[order], parents, [0.4, 0.4], 2)
    for a, b in zip(here, there, strict=True):
        assert a.rates.nnz > 10
        assert (a.rates[order] != b.rates).nnz == 0


def test_permuting_items_changes_nothing():
    rng = np.random.default_rng(6)
    owned = sp.random(30, 60, 0.3, format="csr", random_state=rng)
    parents = [np.append(rng.integers(20, size=59), 19), rng.integers(6, size=20)]
    order = rng.permutation(60)
    here = propagate_interest(owned, parents, [0.4, 0.4], 2)
    there = propagate_interest(owned[:, order], [parents[0][order], parents[1]], [0.4, 0.4], 2)
    for a, b in zip(here, there, strict=True):
        assert a.rates.nnz > 10
        assert (a.rates != b.rates).nnz == 0


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [[1.1, 0.5], [0.8, -0.1], [float("nan"), 0.5], ["x", 1], 0.8, None])
def test_thresholds_outside_zero_to_one(bad):
    with pytest.raises(ValueError, match=r"interest_thresholds must be .* from 0 to 1, got"):
        propagate_interest(interest(USERS), PARENTS, bad, 1)


def test_too_few_thresholds():
    with pytest.raises(ValueError, match=r"interest_thresholds needs .*phi_dep = 2.*got \[0.8\]"):
        propagate_interest(interest(USERS), PARENTS, [0.8], 2)


def test_thresholds_of_depths_that_are_not_climbed_are_left_out():
    assert check_thresholds([0.8, 0.4, 0.2], 2, 3).tolist() == [0.8, 0.4]


@pytest.mark.parametrize("phi_dep", [0, -1, 3, 1.0, "1"])
def test_phi_dep_is_a_depth_of_the_index(phi_dep):
    with pytest.raises(ValueError, match=rf"phi_dep must be .* 1 to .* 2, got {phi_dep!r}"):
        propagate_interest(interest(USERS), PARENTS, [0.8, 0.4, 0.2], phi_dep)


def test_unknown_reading_and_carry():
    with pytest.raises(ValueError, match="interest_reading must be one of coverage, concentration"):
        propagate_interest(interest(USERS), PARENTS, [0.8], 1, rate="share")
    with pytest.raises(ValueError, match="propagate must be one of qualified, touched, got"):
        propagate_interest(interest(USERS), PARENTS, [0.8], 1, propagate="all")


# --- sources of interest -------------------------------------------------------------------------


def test_interest_from_lists():
    ids = np.array([[3, 1, -1], [-1, -1, -1], [0, 3, 3]])
    expected = [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]]
    assert interest_from_lists(ids, 5).toarray().tolist() == expected
    assert interest_from_lists(np.empty((2, 0), dtype=np.int64), 5).shape == (2, 5)


@pytest.mark.parametrize("bad", [-2, 5])
def test_interest_from_lists_refuses_what_is_no_item(bad):
    with pytest.raises(ValueError, match=r"from 0 to 4, or -1 as padding"):
        interest_from_lists(np.array([[0, bad]]), 5)


def test_union_is_binary():
    a = sp.csr_matrix(np.array([[1, 0, 2], [0, 0, 0]]))
    b = sp.csr_matrix(np.array([[-1, 0, 0], [0, 3, 0]]))
    assert union(a, b).toarray().tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match="same shape"):
        union(a, b.T)


def test_given_interest_of_every_depth_is_not_propagated():
    items = interest([[0, 1, 2, 3], [5]])
    nodes = interest([[1], [0, 1]], n_items=3)  # not the nodes above these items
    first, second = propagate_interest([items, nodes], PARENTS, [0, 0], 2)
    assert entries(first.rates) == {(0, 0): 0.8, (1, 1): 0.5}
    assert entries(second.rates) == {(0, 0): 0.5, (1, 0): 1.0}
