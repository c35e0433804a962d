"""The index as a value: structure by hand, files, adding and removing."""

from itertools import pairwise

import numpy as np
import pytest

from recbole_hill.index import hierarchy
from recbole_hill.index.hierarchy import HierarchicalIndex, means, nearest_rows

VECTORS = np.array([[0, 0], [0, 2], [4, 0], [4, 2], [10, 0]], dtype=np.float32)
PARENTS = (np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1]))
ITEMS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def index():
    return HierarchicalIndex.build(ITEMS, PARENTS, VECTORS)


def test_structure_by_hand(index):
    assert (index.depth, index.n_items, index.nodes_per_depth) == (2, 5, (3, 2))
    np.testing.assert_array_equal(index.assignments(2), [0, 0, 0, 0, 1])
    assert index.path(3) == (1, 0) and index.path(4) == (2, 1)
    np.testing.assert_allclose(index.vectors[0], [[0, 1], [4, 1], [10, 0]])
    np.testing.assert_allclose(index.vectors[1], [[2, 1], [10, 0]])
    np.testing.assert_array_equal(index.representatives[0], [0, 2, 4])  # ties: smallest row
    starts, children = index.children(1)
    assert [children[a:b].tolist() for a, b in pairwise(starts)] == [
        [0, 1],
        [2, 3],
        [4],
    ]
    starts, children = index.children(2)
    assert children[starts[0] : starts[1]].tolist() == [0, 1]


def test_every_item_is_below_the_nodes_of_its_path(index):
    for row in range(5):
        child = row
        for depth, node in enumerate(index.path(row), start=1):
            starts, children = index.children(depth)
            assert child in children[starts[node] : starts[node + 1]]
            assert index.assignments(depth)[row] == node
            child = node


def test_arrays_cannot_be_changed(index):
    with pytest.raises(ValueError, match="read-only"):
        index.children(1)[1][0] = 1
    with pytest.raises(ValueError, match="read-only"):
        index.parents[0][0] = 1
    with pytest.raises(AttributeError):
        index.items = []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": (np.array([0, 0, 1, 1, 1]), PARENTS[1])}, "every depth-1 node"),
        ({"parents": (np.array([0, 0, 1, 1, 3]), PARENTS[1])}, r"depth 1 must be in 0\.\.2"),
        ({"parents": (PARENTS[0][:4], PARENTS[1])}, "must have 5 entries"),
        ({"items": ["a", "b", "c", "d", "a"]}, "an item twice"),
        ({"direction": "sideways"}, "bottom_up, top_down, got 'sideways'"),
        ({"representatives": (np.array([0, 1, 4]), np.array([0, 4]))}, "members of their nodes"),
        ({"representatives": (np.array([0, 2, 5]), np.array([0, 4]))}, "members of their nodes"),
        ({"representatives": (np.array([0, 2, -1]), np.array([0, 4]))}, "members of their nodes"),
        ({"parents": (PARENTS[0] * 1.0, PARENTS[1])}, "parents must be integers, got float64"),
    ],
)
def test_what_is_not_a_tree_is_refused(index, change, message):
    parts = {
        name: getattr(index, name)
        for name in ("items", "parents", "vectors", "representatives", "direction")
    }
    with pytest.raises(ValueError, match=message):
        HierarchicalIndex(**{**parts, **change})


def test_round_trip(index, tmp_path):
    index.save(tmp_path / "index.npz")
    again = HierarchicalIndex.load(tmp_path / "index.npz", items=ITEMS)
    assert again.direction == index.direction
    for name in ("items", "parents", "vectors", "representatives"):
        np.testing.assert_array_equal(
            np.concatenate([np.ravel(x) for x in getattr(again, name)]),
            np.concatenate([np.ravel(x) for x in getattr(index, name)]),
        )


def test_truncated_file_is_refused(index, tmp_path):
    file = tmp_path / "index.npz"
    index.save(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"index.npz is not a whole index file"):
        HierarchicalIndex.load(file)


def test_no_flipped_bit_gets_through(index, tmp_path):
    file = tmp_path / "index.npz"
    index.save(file)
    content = file.read_bytes()
    refused = 0
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        try:
            again = HierarchicalIndex.load(file)
        except ValueError as error:
            assert "index.npz" in str(error)
            refused += 1
            continue
        # Some bytes of a zip mean nothing, such as its dates.
        for name in ("parents", "vectors", "representatives"):
            for a, b in zip(getattr(again, name), getattr(index, name), strict=True):
                np.testing.assert_array_equal(a, b)
        assert again.items.tolist() == ITEMS and again.direction == index.direction
    assert refused > len(content) / 5 / 2


def test_changed_content_is_refused(index, tmp_path):
    file = tmp_path / "index.npz"
    index.save(file)
    with np.load(file) as saved:
        arrays = dict(saved)
    arrays["vectors_1"] = arrays["vectors_1"] + 1
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match="was changed after it was saved"):
        HierarchicalIndex.load(file)


def test_another_file_and_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="not a whole index file"):
        HierarchicalIndex.load(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", VECTORS)
    with pytest.raises(ValueError, match=r"array.npy is not a whole index file"):
        HierarchicalIndex.load(tmp_path / "array.npy")
    np.savez(tmp_path / "evil.npz", content=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a whole index file"):
        HierarchicalIndex.load(tmp_path / "evil.npz")


def test_another_item_list_is_refused(index, tmp_path):
    index.save(tmp_path / "index.npz")
    message = r"5 items against 4 here, different from row 2 on \('c' against 'x'\)"
    with pytest.raises(ValueError, match=message):
        HierarchicalIndex.load(tmp_path / "index.npz", items=["a", "b", "x", "d"])
    with pytest.raises(ValueError, match=r"different from row 4 on \('e' against nothing\)"):
        HierarchicalIndex.load(tmp_path / "index.npz", items=ITEMS[:4])


def test_add_places_new_items_and_moves_nothing(index):
    new = np.array([[4, 1.5], [9, 0]], dtype=np.float32)
    grown = index.add(["f", "g"], new, VECTORS)
    np.testing.assert_array_equal(grown.parents[0], [0, 0, 1, 1, 2, 1, 2])
    np.testing.assert_array_equal(grown.vectors[0], index.vectors[0])
    assert grown.representatives[0].tolist() == [0, 5, 4]  # f is closest to node 1
    with pytest.raises(ValueError, match="item 'a' is in the index already"):
        index.add(["a"], new[:1], VECTORS)


def test_remove_drops_empty_nodes_and_closes_ids(index):
    smaller = index.remove(["c", "d"], VECTORS)
    assert smaller.items.tolist() == ["a", "b", "e"]
    assert smaller.nodes_per_depth == (2, 2)
    np.testing.assert_array_equal(smaller.parents[0], [0, 0, 1])
    np.testing.assert_array_equal(smaller.vectors[0], index.vectors[0][[0, 2]])
    with pytest.raises(ValueError, match="item 'x' is not in the index"):
        index.remove(["x"], VECTORS)
    with pytest.raises(ValueError, match="at least one item"):
        index.remove(ITEMS, VECTORS)


def test_add_then_remove_is_the_same_tree(index):
    new = np.array([[4, 1.5]], dtype=np.float32)
    again = index.add(["f"], new, VECTORS).remove(["f"], np.concatenate((VECTORS, new)))
    for a, b in zip(again.parents, index.parents, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.representatives[0].tolist() == index.representatives[0].tolist()


def test_item_vectors_must_fit_the_items(index):
    for change in (
        lambda: index.refreshed(VECTORS[:4]),
        lambda: index.remove(["a"], VECTORS[:4]),
        lambda: index.refreshed(VECTORS[0]),
    ):
        with pytest.raises(ValueError, match=r"item vectors must have shape \(5, D\)"):
            change()
    with pytest.raises(ValueError, match="depth 1 must be finite"):
        index.refreshed(VECTORS * np.nan)


def test_refreshed_follows_the_items(index):
    moved = index.refreshed(VECTORS + 1)
    np.testing.assert_allclose(moved.vectors[0], index.vectors[0] + 1)


def test_means_and_nearest_by_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)).astype(np.float32)
    assignment = np.r_[np.arange(6), rng.integers(0, 6, 24)]
    expected = np.stack([x[assignment == n].mean(0) for n in range(6)])
    np.testing.assert_allclose(means(x, assignment, 6), expected, rtol=1e-5)
    slow = [int(((expected - v) ** 2).sum(1).argmin()) for v in x]
    np.testing.assert_array_equal(nearest_rows(x, expected, block=7), slow)


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_blocks_change_no_mean_distance_or_representative(monkeypatch, block):
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 3, size=(200, 2)).astype(np.float32)  # many equal distances
    assignment = np.concatenate((np.arange(20), rng.integers(0, 20, 180)))
    monkeypatch.setattr(hierarchy, "BLOCK", block)
    index = HierarchicalIndex.build([str(i) for i in range(200)], (assignment,), vectors)
    for node in range(20):
        rows = np.flatnonzero(assignment == node)
        mean = vectors[rows].astype(np.float64).mean(0).astype(np.float32)
        np.testing.assert_array_equal(index.vectors[0][node], mean)
        distance = ((vectors[rows] - mean).astype(np.float64) ** 2).sum(1)
        assert index.representatives[0][node] == rows[distance.argmin()]


@pytest.mark.parametrize("items", [["a", "b", "a", "cc"], ["", "x", ""], ["é", "é"]])
def test_an_item_listed_twice_is_found(items):
    assert hierarchy._any_twice(np.asarray(items))
    assert not hierarchy._any_twice(np.unique(items))
