"""On-device sampling: what may be drawn, and how often, by chi-square."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import chisquare

from recbole_hill.data import sampling
from recbole_hill.data.sampling import InteractionSampler

# User 0 and item 0 are padding; user 1 has items 1, 2, 3; user 2 has item 5; user 3 has none.
MATRIX = sp.csr_matrix(
    np.array(
        [
            [0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0],
        ]
    )
)


@pytest.fixture
def sampler():
    torch.manual_seed(0)
    return InteractionSampler(MATRIX)


def test_has_is_the_matrix(sampler):
    users, items = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    assert (sampler.has(users, items).numpy() == MATRIX.toarray().astype(bool)).all()


def test_train_items_are_the_rows_one_after_another(sampler):
    row, item = sampler.train_items(torch.tensor([2, 3, 1, 2]))
    assert row.tolist() == [0, 2, 2, 2, 3] and item.tolist() == [5, 1, 2, 3, 5]


@pytest.mark.parametrize("reject", [True, False])
def test_negatives_are_uniform_over_what_is_allowed(sampler, reject):
    users = torch.tensor([1, 2, 3])
    drawn = sampler.negatives(users, 20_000, reject=reject)
    for row, user in enumerate(users.tolist()):
        own = set(MATRIX[user].indices.tolist()) if reject else set()
        allowed = [item for item in range(1, 6) if item not in own]
        counts = np.bincount(drawn[row].numpy(), minlength=6)
        assert counts.sum() == counts[allowed].sum() == 20_000
        if len(allowed) > 1:
            assert chisquare(counts[allowed]).pvalue > 1e-4


def test_positives_weigh_users_alike(sampler):
    users, items = sampler.positives(30_000)
    assert sampler.has(users, items).all()
    assert chisquare(np.bincount(users.numpy())[1:]).pvalue > 1e-4  # users 1 and 2
    assert chisquare(np.bincount(items[users == 1].numpy())[1:]).pvalue > 1e-4


def test_large_matrices_against_a_slow_reference():
    rng = np.random.default_rng(0)
    dense = rng.random((40, 70)) < 0.2
    dense[0], dense[:, 0] = False, False
    sampler = InteractionSampler(sp.csr_matrix(dense))
    users = torch.from_numpy(rng.integers(1, 40, 100))
    drawn = sampler.negatives(users, 50, reject=True)
    assert drawn.min() >= 1
    for user, row in zip(users.tolist(), drawn.tolist(), strict=True):
        assert not any(dense[user, item] for item in row)


def test_repeated_entries_count_once():
    repeated = sp.coo_matrix((np.ones(3), ([1, 1, 2], [2, 2, 1])), shape=(3, 4))
    users, items = InteractionSampler(repeated).positives(200)
    assert {*zip(users.tolist(), items.tolist(), strict=True)} == {(1, 2), (2, 1)}


@pytest.mark.parametrize("reject", [True, False])
def test_a_user_with_every_item_gets_any_item(reject):
    sampler = InteractionSampler(sp.csr_matrix([[0, 0, 0], [0, 1, 1], [0, 1, 0]]))
    users = torch.arange(1, 3).repeat(40)
    of_full, of_other = sampler.negatives(users, 3, reject=reject).view(40, 2, 3).unbind(1)
    assert set(of_full.flatten().tolist()) == {1, 2}
    assert set(of_other.flatten().tolist()) == ({2} if reject else {1, 2})


@pytest.mark.parametrize("shapes", [((9, 1), (9, 50)), ((9, 1), (50,)), ((40,), (40,)), ((), (7,))])
@pytest.mark.parametrize("bits", [8, 512, 2**29])
def test_has_in_any_shapes_however_much_the_filter_mistakes(shapes, bits, monkeypatch):
    monkeypatch.setattr(sampling, "_LARGEST_FILTER", bits)  # fewer than there are pairs, and more
    rng = np.random.default_rng(1)
    dense = rng.random((40, 70)) < 0.3
    dense[0], dense[:, 0] = False, False
    sampler = InteractionSampler(sp.csr_matrix(dense))
    sampler.possible[::3] = 255  # mistakes many more
    users = torch.from_numpy(rng.integers(0, 40, shapes[0]))
    items = torch.from_numpy(rng.integers(0, 70, shapes[1]))
    expected = torch.from_numpy(dense)[users, items]
    assert torch.equal(sampler.has(users, items), expected)
    assert expected.any() and not expected.all()
