"""The map to where distances are what scores differ by: plain Python, invariance, blocks."""

import numpy as np
import pytest

from recbole_hill.index.score_space import score_map


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, 4)) * (1, 2, 0.5, 0.1) + 1 for n in (50, 6))
    return users.astype(np.float32), items.astype(np.float32)


@pytest.mark.parametrize("about", [None, [1.0, 1.0, 1.0, 1.0], [0.5, -2.0, 0.0, 3.0]])
def test_distances_are_mean_squared_score_differences(vectors, about):
    users, items = vectors
    root = score_map(users, about=None if about is None else np.array(about))
    for x in items:
        for y in items:
            scores = [(u - (about or 0)) @ (x - y) for u in users.astype(np.float64)]
            expected = np.mean(np.square(scores))
            assert ((x @ root - y @ root) ** 2).sum() == pytest.approx(expected, rel=1e-4)


def test_other_vectors_with_the_same_scores_have_the_same_distances(vectors):
    users, items = vectors
    a = np.array([[2, 1, 0, 0], [0, 1, 3, 0], [0, 0, 1, 0], [1, 0, 0, 0.5]])
    plain = items @ score_map(users)
    moved = (items @ np.linalg.inv(a)) @ score_map((users @ a.T).astype(np.float32))
    distances = [((points[:, None] - points) ** 2).sum(2) for points in (plain, moved)]
    np.testing.assert_allclose(*distances, rtol=1e-3, atol=1e-4)


def test_columns_are_orthogonal_and_ordered_and_hold_the_mean_square(vectors):
    users, _ = vectors
    root = score_map(users)
    gram = root.T @ root
    assert (np.diff(np.diag(gram)) < 0).all()
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-5
    assert np.trace(gram) == pytest.approx((users**2).sum(1).mean(), rel=1e-5)


def test_a_block_at_a_time_is_the_same(vectors, monkeypatch):
    whole = score_map(vectors[0], about=np.ones(4))
    monkeypatch.setattr("recbole_hill.index.score_space.BLOCK", 7)
    moments = [root @ root.T for root in (whole, score_map(vectors[0], about=np.ones(4)))]
    np.testing.assert_allclose(*moments, rtol=1e-5)
