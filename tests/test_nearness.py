"""Nearness of held-out items to train: a slow reference, and a difference that was planted."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import ttest_rel

from recbole_hill.data import nearness as module
from recbole_hill.data.nearness import nearness


def split(seed: int, n_users: int = 60, n_items: int = 40):
    rng = np.random.default_rng(seed)
    both = rng.random((n_users, n_items)) < 0.3
    both[:, :2] = True, True
    held = both & (rng.random(both.shape) < 0.3)
    held[:, 0], held[:, 1] = False, True
    return (both & ~held).astype(np.float32), held.astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_equals_a_loop(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    train, held = split(0)
    norms = np.maximum(np.linalg.norm(train, axis=0), 1e-9)
    users = np.array([5, 3, 30])
    expected = [
        np.mean(
            [
                max(train[:, i] @ train[:, j] / norms[i] / norms[j] for j in np.flatnonzero(row))
                for i in np.flatnonzero(held[u])
            ]
        )
        for u, row in zip(users, train[users], strict=True)
    ]
    found = nearness(sp.csr_matrix(train), sp.csr_matrix(held), users)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_tells_a_random_part_from_a_later_taste():
    """Users have items of one group, and a few of another that they turned to."""
    rng = np.random.default_rng(1)
    n_users, n_items, n_groups = 600, 120, 6
    group = rng.integers(n_groups, size=n_users)
    of_item = np.arange(n_items) % n_groups
    liked = (of_item == group[:, None]) & (rng.random((n_users, n_items)) < 0.8)
    later = (of_item == (group[:, None] + 1) % n_groups) & (rng.random(liked.shape) < 0.3)
    later[:, 0] |= ~later.any(1)
    valid = liked & (rng.random(liked.shape) < 0.2)
    other = liked & ~valid & (rng.random(liked.shape) < 0.25)
    train = liked & ~valid & ~other
    users = np.flatnonzero(train.any(1) & valid.any(1) & other.any(1))
    train, valid, other, later = map(sp.csr_matrix, (train, valid, other, later))
    near = nearness(train, valid, users)
    assert ttest_rel(near, nearness(train, other, users)).pvalue > 0.01
    assert nearness(train, later, users).mean() < 0.5 * near.mean()


def test_a_user_without_items_is_named():
    train, held = split(2)
    held[4] = 0
    with pytest.raises(ValueError, match="user 4 "):
        nearness(sp.csr_matrix(train), sp.csr_matrix(held), np.array([1, 4]))
