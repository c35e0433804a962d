"""Interaction features by inverted index against a loop over pairs."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_hill.data.inverted_index import History, InvertedIndex, distinct

N_USERS, N_ITEMS, N_VALUES = 9, 14, 8


@pytest.fixture
def made():
    rng = np.random.default_rng(0)
    matrix = sp.csr_matrix(rng.random((N_USERS, N_ITEMS)) < 0.3, dtype=float)
    matrix[0] = matrix[4] = 0  # padding, and a user without history
    matrix[:, 0] = 0
    values = torch.from_numpy(rng.integers(0, N_VALUES, (N_ITEMS, 3)))
    values[0] = 0
    matrix.eliminate_zeros()
    return sp.csr_matrix(matrix), values


def by_loop(matrix, values, user, item, left_out=None):
    """Counts, engaged items and the three numbers of one pair, value by value."""
    engaged = [i for i in range(N_ITEMS) if matrix[user, i] and i != left_out]
    own = {int(v) for v in values[item]} - {0}
    counts = {v: sum(v in values[i].tolist() for i in engaged) for v in own}
    total, held = sum(counts.values()), max(1, len(own))
    dense = [
        np.log1p(total),
        total / max(1, len(engaged) * held),
        sum(c > 0 for c in counts.values()) / held,
    ]
    return counts, len(engaged), dense


@pytest.mark.parametrize("leave_out", [False, True])
def test_pairs_equal_a_loop(made, leave_out):
    matrix, values = made
    index = InvertedIndex.of_history(values, N_VALUES, History(matrix))
    pairs = [(u, i, t) for u in range(N_USERS) for i in range(N_ITEMS) for t in (i, (i + 5) % 14)]
    users, items, targets = (torch.tensor(part) for part in zip(*pairs, strict=True))
    found = index.pairs(users, items, targets if leave_out else None)
    dense = found.dense()
    for row, (user, item, target) in enumerate(pairs):
        expected = by_loop(matrix, values, user, item, target if leave_out else None)
        held = found.values[row] > 0
        counts = dict(
            zip(found.values[row][held].tolist(), found.counts[row][held].tolist(), strict=True)
        )
        assert counts == expected[0]
        assert not found.counts[row][~held].any()
        assert found.engaged[row] == expected[1]
        np.testing.assert_allclose(dense[row].numpy(), expected[2], rtol=1e-6)


def test_blocks_equal_pairs(made):
    matrix, values = made
    index = InvertedIndex.of_history(values, N_VALUES, History(matrix))
    users = torch.tensor([3, 4, 8])
    everything = index.block(users)
    some = torch.tensor([[1, 5], [0, 2], [13, 13]])
    few = index.block(users, some)
    for row, user in enumerate(users):
        alone = index.pairs(user.expand(N_ITEMS), torch.arange(N_ITEMS))
        for part in ("values", "counts", "engaged"):
            assert torch.equal(getattr(everything, part)[row], getattr(alone, part))
            assert torch.equal(getattr(few, part)[row], getattr(alone, part)[some[row]])


def test_a_user_without_history_shares_nothing(made):
    _, values = made
    index = InvertedIndex.of_history(values, N_VALUES, History(sp.csr_matrix((N_USERS, N_ITEMS))))
    found = index.pairs(torch.arange(N_USERS), torch.arange(N_USERS), torch.arange(N_USERS))
    assert not found.counts.any() and not found.dense().any()
    assert not index.block(torch.arange(3)).counts.any()


def test_stated_interests_equal_a_loop(made):
    _, values = made
    rng = np.random.default_rng(1)
    stated = torch.from_numpy(rng.integers(0, N_VALUES, (N_USERS, 2)))
    stated[0] = 0
    index = InvertedIndex.of_interests(values, N_VALUES, stated)
    users, items = torch.arange(N_USERS).repeat_interleave(N_ITEMS), torch.arange(N_ITEMS).repeat(9)
    found = index.pairs(users, items, items)  # nothing that a target could be left out of
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        wants, own = ({int(v) for v in part} - {0} for part in (stated[user], values[item]))
        assert found.counts[row].sum() == len(wants & own)
        assert found.engaged[row] == len(wants)


def test_history_by_user(made):
    matrix, _ = made
    history = History(matrix)
    users = torch.tensor([4, 2, 2, 7])
    items, starts = history.of(users)
    ends = [*starts.tolist()[1:], len(items)]
    for user, start, end in zip(users, starts.tolist(), ends, strict=True):
        assert items[start:end].tolist() == matrix[int(user)].indices.tolist()
    held = history.holds(torch.tensor([2, 2]), torch.tensor([int(items[0]), 0]))
    assert held.tolist() == [True, False]


def test_distinct_values():
    found = distinct(torch.tensor([[3, 3, 1], [0, 2, 0], [0, 0, 0]]))
    assert found.tolist() == [[3, 1], [2, 0], [0, 0]]


def test_the_benchmark_checks_that_both_ways_agree(capsys, monkeypatch):
    import importlib
    import sys
    from pathlib import Path

    folder = str(Path(__file__).resolve().parents[1] / "benchmarks")
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    benchmark = importlib.import_module("interaction_features")
    threads = torch.get_num_threads()
    small = ["--users=20", "--items=30", "--values=9", "--history=5", "--pairs=40"]
    benchmark.main(small)
    assert "| one user, all items | " in capsys.readouterr().out
    monkeypatch.setattr(benchmark, "loop", lambda *pair: -1.0)
    with pytest.raises(AssertionError, match="disagree"):
        benchmark.main(small)
    torch.set_num_threads(threads)
