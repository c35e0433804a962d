"""A search by nodes returns as many items as exact search, and counts what it scores for that."""

import numpy as np
import pytest
import torch

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.in_numpy import BeamSearch, FaissSearch

SEARCHES = {
    "beam": lambda *parts, width: BeamRetriever(*parts, beam_width=width),
    "faiss": lambda *parts, width: FaissRetriever(*parts, beam_width=width),
    "faiss nodes": lambda *parts, width: FaissRetriever(*parts, probe="nodes", n_probe=width),
}


@pytest.fixture
def three_nodes():
    """A tree of nodes with 3, 3 and 2 items, and the items' vectors, of one number each."""
    items = torch.tensor([[9.0], [8], [7], [6], [5], [4], [3], [2]])
    parents = (np.array([0, 0, 0, 1, 1, 1, 2, 2]),)
    return HierarchicalIndex.build(list("abcdefgh"), parents, items.numpy()), items


@pytest.mark.parametrize("name", SEARCHES)
def test_a_list_is_filled_where_its_user_has_seen_the_nodes_items(three_nodes, name):
    search = SEARCHES[name](*three_nodes, width=1)
    users = torch.ones(2, 1)
    # The node of 9, 8 and 7 is kept, and the first user has seen two of its items (8, and 7 twice).
    seen = (torch.tensor([0, 0, 0]), torch.tensor([1, 2, 2]))
    scores, ids = search.search(users, 5, seen)
    assert ids.tolist() == [[0, 3, 4, 5, 6], [0, 1, 2, 3, 4]]
    assert scores.tolist() == [[9, 6, 5, 4, 3], [9, 8, 7, 6, 5]]
    assert (search.scored, search.scored_nodes) == (2 * (3 + 3 + 8), 2 * 3)
    # Here the second user's three items suffice.
    assert search.search(users, 3, seen)[1].tolist() == [[0, 3, 4], [0, 1, 2]]
    assert search.scored == 2 * (3 + 3 + 8) + (3 + 3 + 8) + (3 + 3)


@pytest.mark.parametrize("kind", [BeamSearch, FaissSearch])
def test_numpy_fills_a_list_too(three_nodes, kind):
    index, items = three_nodes
    search = kind(index, items.numpy(), 1)
    scores, found = search.search(np.ones(1, np.float32), 5, np.array([1, 2, 2]))
    assert found.tolist() == [0, 3, 4, 5, 6] and scores.tolist() == [9, 6, 5, 4, 3]
    assert search.search(np.ones(1, np.float32), 9, np.arange(8))[1].tolist() == []


@pytest.mark.parametrize("name", SEARCHES)
def test_a_user_who_has_seen_nearly_everything_gets_what_is_left(three_nodes, name):
    search = SEARCHES[name](*three_nodes, width=1)
    all_but_last = (torch.zeros(7, dtype=torch.int64), torch.arange(7))
    assert search.search(torch.ones(1, 1), 3, all_but_last)[1].tolist() == [[7, -1, -1]]
    assert search.scored == 3 + 3 + 8
    everything = (torch.zeros(8, dtype=torch.int64), torch.arange(8))
    scores, ids = search.search(torch.ones(1, 1), 3, everything)
    assert ids.tolist() == [[-1, -1, -1]] and (scores == -torch.inf).all()
    assert search.scored == 3 + 3 + 8 + 3 + 3  # nothing is missing, so nothing more is scored


@pytest.mark.parametrize("block", [1, 1000])
def test_no_list_is_short_over_a_skewed_tree(block, monkeypatch):
    rng = np.random.default_rng(0)
    sizes, n_users, k = np.array([1, 1, 2, 3, 5, 30, 58]), 80, 7
    items, users = (torch.from_numpy(rng.normal(size=(n, 6))).float() for n in (100, n_users))
    nodes = np.repeat(np.arange(7), sizes)
    index = HierarchicalIndex.build([str(i) for i in range(100)], (nodes,), items.numpy())
    counts = torch.from_numpy(rng.choice([0, 1, 10, 60, 96, 100], n_users))
    seen_by = torch.arange(n_users).repeat_interleave(counts)
    seen = [rng.permutation(100)[:n] for n in counts.tolist()]
    exclude = (seen_by, torch.from_numpy(np.concatenate(seen)))
    exact = ExactRetriever(items).search(users, k, exclude)
    kept = (users.numpy() @ index.vectors[0].T).argmax(1)
    own = [
        np.setdiff1d(np.flatnonzero(nodes == node), s) for node, s in zip(kept, seen, strict=True)
    ]
    left = (100 - counts).clamp_max(k)
    short = torch.tensor([len(found) for found in own]) < left
    assert 20 < short.sum() < 70
    monkeypatch.setattr("recbole_hill.retrieval.descent.GATHERED_SHARE", 1)
    monkeypatch.setattr("recbole_hill.retrieval.base.BLOCK_ENTRIES", 100 * block)
    lists = {}
    for name, make in SEARCHES.items():
        search = make(index, items, width=1)
        scores, lists[name] = search.search(users, k, exclude)
        assert torch.equal((lists[name] >= 0).sum(1), left)
        assert torch.equal(lists[name][short], exact[1][short])
        torch.testing.assert_close(scores[short], exact[0][short])
        for user in (~short).nonzero().flatten().tolist():
            assert set(lists[name][user].tolist()) <= {*own[user].tolist(), -1}
        if name != "faiss nodes":  # FAISS may fetch a long list twice
            assert search.scored == n_users * 7 + sizes[kept].sum() + int(short.sum()) * 100
    assert torch.equal(lists["beam"], lists["faiss"])
    assert torch.equal(lists["beam"], lists["faiss nodes"])
    for kind in (BeamSearch, FaissSearch):
        found = kind(index, items.numpy(), 1).search_all(users.numpy(), k, seen)
        for (_, ids), expected in zip(found, lists["beam"], strict=True):
            assert ids.tolist() == expected[expected >= 0].tolist()
