"""A search by nodes returns as many items as exact search, and counts what it scores for that."""

import numpy as np
import pytest
import torch

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.in_numpy import BeamSearch, FaissSearch

SEARCHES = {
    "beam": lambda *parts, width: BeamRetriever(*parts, beam_width=width),
    "faiss": lambda *parts, width: FaissRetriever(*parts, beam_width=width),
    "faiss nodes": lambda *parts, width: FaissRetriever(*parts, probe="nodes", n_probe=width),
}


@pytest.fixture(autouse=True)
def only_candidates_are_scored(monkeypatch):
    monkeypatch.setattr("recbole_hill.retrieval.descent.GATHERED_SHARE", 1)


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
    # Two nodes have enough items for the second user, and one too few for the first.
    assert search.scored == 2 * (3 + 3) + 2 * (3 + 6) + 8 and search.scored_nodes == 2 * 3 + 2 * 3
    # Of three items, one node has enough for the second user, and two have enough for the first.
    assert search.search(users, 3, seen)[1].tolist() == [[0, 3, 4], [0, 1, 2]]
    assert search.scored == 2 * (3 + 3) + 2 * (3 + 6) + 8 + 2 * (3 + 3) + (3 + 6)


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
    counted = (3 + 3) + (3 + 6) + 8
    assert search.scored == counted
    everything = (torch.zeros(8, dtype=torch.int64), torch.arange(8))
    scores, ids = search.search(torch.ones(1, 1), 3, everything)
    assert ids.tolist() == [[-1, -1, -1]] and (scores == -torch.inf).all()
    assert search.scored == counted + 3 + 3  # nothing is missing, so nothing more is scored


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
    left = (100 - counts).clamp_max(k).tolist()
    expected, cost, widened = [], 0, 0
    for user in range(n_users):
        scores, ranked = items.numpy() @ users[user].numpy(), index.vectors[0] @ users[user].numpy()
        for width in (1, 2, 4, 7):
            own = np.flatnonzero(np.isin(nodes, np.argsort(-ranked)[:width]))
            cost += len(own) + (7 if width < 7 else 0)
            unseen = sorted(set(own) - set(seen[user]), key=lambda item: -scores[item])
            if len(unseen) >= left[user]:
                break
            widened += 1
        expected.append(unseen[:k])
    assert widened > 80
    monkeypatch.setattr("recbole_hill.retrieval.base.BLOCK_ENTRIES", 100 * block)
    for make in SEARCHES.values():
        search = make(index, items, width=1)
        lists = search.search(users, k, exclude)[1].tolist()
        assert lists == [[*ids, *[-1] * (k - len(ids))] for ids in expected]
        assert [sum(item >= 0 for item in ids) for ids in lists] == left
        assert search.scored == cost
    for kind in (BeamSearch, FaissSearch):
        found = kind(index, items.numpy(), 1).search_all(users.numpy(), k, seen)
        assert [ids.tolist() for _, ids in found] == expected
