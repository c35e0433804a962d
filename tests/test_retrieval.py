"""One contract for every retriever: order, ties, exclusion, padding; beam against exact."""

import numpy as np
import pytest
import torch
from planted import planted_hierarchy

from recbole_hill.evaluation.retrieval import compare_retrievers, index_recall
from recbole_hill.index.em import kmeans_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.report.tables import retrieval_note
from recbole_hill.retrieval.base import top_k
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.widths import RETRIEVALS


def slow_search(users, items, ids, k, exclude):
    """Sorts every user's items by (-score, id) in plain Python."""
    lists = []
    banned = set(zip(*(part.tolist() for part in exclude), strict=True))
    for row, user in enumerate(users.double()):
        scored = [
            (-float(user @ item), i)
            for item, i in zip(items.double(), ids.tolist(), strict=True)
            if (row, i) not in banned
        ]
        best = [(i, -s) for s, i in sorted(scored)[:k]]
        lists.append(best + [(-1, -np.inf)] * (k - len(best)))
    found = torch.tensor([[i for i, _ in row] for row in lists])
    return torch.tensor([[s for _, s in row] for row in lists]), found


@pytest.fixture(params=["integers", "floats"])
def made(request):
    rng = np.random.default_rng(0)
    if request.param == "integers":  # exact arithmetic and many ties
        items = torch.from_numpy(rng.integers(-1, 2, (60, 4)).astype(np.float32))
        users = torch.from_numpy(rng.integers(-1, 2, (25, 4)).astype(np.float32))
    else:
        items, users = (torch.from_numpy(rng.normal(size=(n, 4))).float() for n in (60, 25))
    ids = torch.arange(1, 61) * 3
    seen = torch.from_numpy(rng.integers(0, 60, 150))
    exclude = (torch.arange(25).repeat_interleave(6), ids[seen])
    index = kmeans_index(items.numpy(), [str(i) for i in range(60)], [12, 4], seed=0)
    retrievers = {
        "exact": ExactRetriever(items, ids),
        "beam": BeamRetriever(index, items, ids, beam_width="full"),
        "faiss": FaissRetriever(index, items, ids, beam_width="full"),
        "faiss nodes": FaissRetriever(index, items, ids, probe="nodes", n_probe=12),
    }
    return retrievers, users, items, ids, exclude


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("k", [1, 7, 60, 80])
@pytest.mark.parametrize("name", ["exact", "beam", "faiss", "faiss nodes"])
def test_against_plain_python(made, name, k, block, monkeypatch):
    retrievers, users, items, ids, exclude = made
    monkeypatch.setattr(retrievers[name], "block", block, raising=False)
    scores, found = retrievers[name].search(users, k, exclude)
    expected_scores, expected = slow_search(users, items, ids, k, exclude)
    assert torch.equal(found, expected)
    torch.testing.assert_close(scores.double(), expected_scores.double(), rtol=1e-5, atol=1e-6)


def slow_descent(index, user, widths):
    """Walks down the tree in plain Python, ties to the smallest id; kept nodes, and candidates."""
    candidates, levels = list(range(index.nodes_per_depth[-1])), []
    for depth, width in zip(range(index.depth, 0, -1), widths[::-1], strict=True):
        scores = index.vectors[depth - 1].astype(float) @ user
        levels.append(sorted(candidates, key=lambda n: (-scores[n], n))[:width])
        starts, children = index.children(depth)
        candidates = [c for n in levels[-1] for c in children[starts[n] : starts[n + 1]].tolist()]
    return levels[::-1], candidates


def slow_beam(index, users, items, widths, k, exclude):
    """Searches user by user, in plain Python; ties to the smallest id at every depth.

    While a user's candidates are too few for his list, the widths are doubled.
    """
    banned = set(zip(*(part.tolist() for part in exclude), strict=True))
    lists = []
    for row, user in enumerate(users.double().numpy()):
        scores = items.double().numpy() @ user
        unseen, found, own = {i for i in range(len(items)) if (row, i) not in banned}, [], widths
        while len(found) < min(k, len(unseen)):
            found = unseen & set(slow_descent(index, user, own)[1])
            own = [2 * width for width in own]
        best = sorted((-scores[i], i) for i in found)[:k]
        lists.append([i for _, i in best] + [-1] * (k - len(best)))
    return torch.tensor(lists)


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("widths", [(1, 1), (3, 2), (2, 4), (12, 2), (11, 4), (5, 3)])
def test_every_width_against_plain_python(widths, block):
    rng = np.random.default_rng(3)
    items = torch.from_numpy(rng.integers(-1, 2, (60, 4)).astype(np.float32))
    users = torch.from_numpy(rng.integers(-1, 2, (25, 4)).astype(np.float32))
    parents = (np.r_[np.arange(12), rng.integers(0, 12, 48)], np.r_[np.arange(4), [0] * 8])
    # Small whole numbers for the nodes too: exact arithmetic and many ties at every depth.
    nodes = [rng.integers(-1, 2, (n, 4)) for n in (12, 4)]
    tokens = [str(i) for i in range(60)]
    index = HierarchicalIndex.build(tokens, parents, items.numpy(), vectors=nodes)
    exclude = tuple(torch.from_numpy(rng.integers(0, n, 150)) for n in (25, 60))
    beam = BeamRetriever(index, items, beam_width=widths)
    beam.block = block
    for k in (1, 10, 60):
        expected = slow_beam(index, users, items, widths, k, exclude)
        assert torch.equal(beam.search(users, k, exclude)[1], expected)
    kept = beam.kept_nodes(users)
    for row, user in enumerate(users.double().numpy()):
        levels, _ = slow_descent(index, user, widths)
        for found, level in zip(kept, levels, strict=True):
            assert sorted(set(found[row].tolist()) - {-1}) == sorted(level)


def test_full_width_is_exact_search_to_the_bit():
    rng = np.random.default_rng(4)
    items = torch.from_numpy(rng.normal(size=(300, 16))).float()
    users = torch.from_numpy(rng.normal(size=(50, 16))).float()
    index = kmeans_index(items.numpy(), [str(i) for i in range(300)], [40, 7], seed=0)
    exact = ExactRetriever(items).search(users, 20)
    for width in ("full", 40, (40, 7)):
        found = BeamRetriever(index, items, beam_width=width).search(users, 20)
        assert torch.equal(found[0], exact[0]) and torch.equal(found[1], exact[1])


def test_blocks_of_users_keep_the_memory_bounded(monkeypatch):
    monkeypatch.setattr("recbole_hill.retrieval.base.BLOCK_ENTRIES", 600)
    monkeypatch.setattr("recbole_hill.retrieval.descent.BLOCK_ENTRIES", 600)
    items = torch.randn(60, 4)
    assert ExactRetriever(items).block == 10
    parents = (np.r_[np.repeat(0, 30), np.repeat(1, 20), np.repeat(2, 10)],)
    index = HierarchicalIndex.build([str(i) for i in range(60)], parents, items.numpy())
    assert BeamRetriever(index, items, beam_width=1).block == 600 // (30 * 4)  # gathered
    assert BeamRetriever(index, items, beam_width=2).block == 600 // 60  # all scored
    assert BeamRetriever(index, items, beam_width="full").block == 10


def test_no_users_and_other_float_types(made):
    retrievers, users, *_ = made
    for retriever in retrievers.values():
        scores, ids = retriever.search(users[:0], 3)
        assert scores.shape == ids.shape == (0, 3)
        scores, ids = retriever.search(users.double(), 3)
        assert scores.dtype == torch.float32 and ids.dtype == torch.int64
        assert torch.equal(ids, retriever.search(users, 3)[1])


def test_ids_that_are_not_indexed_exclude_nothing(made):
    retrievers, users, _, ids, _ = made
    unknown = torch.tensor([-1, 0, 4, int(ids[-1]) + 1])
    for retriever in retrievers.values():
        found = retriever.search(users, 9, (torch.arange(4), unknown))[1]
        assert torch.equal(found, retriever.search(users, 9)[1])


def test_nothing_to_exclude(made):
    retrievers, users, items, ids, _ = made
    none = (torch.empty(0, dtype=torch.int64),) * 2
    expected = slow_search(users, items, ids, 9, none)[1]
    for retriever in retrievers.values():
        assert torch.equal(retriever.search(users, 9)[1], expected)


@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_top_k_breaks_ties_by_column_at_the_boundary(k):
    torch.manual_seed(0)
    scores = torch.randint(0, 3, (200, 8)).float()
    values, columns = top_k(scores, k)
    for row, got in zip(scores.tolist(), columns.tolist(), strict=True):
        assert got == sorted(range(8), key=lambda c: (-row[c], c))[:k]
    torch.testing.assert_close(values, scores.gather(1, columns))


def test_narrow_beam_finds_planted_items_cheaply():
    rng = np.random.default_rng(1)
    vectors, fine, _ = planted_hierarchy(rng, n_coarse=8, n_fine=8, n_items=20)
    items = torch.from_numpy(vectors)
    index = kmeans_index(vectors, [str(i) for i in range(1280)], [64, 8], seed=0, iterations=40)
    users = items[torch.from_numpy(rng.integers(0, 1280, 50))]
    beam = BeamRetriever(index, items, beam_width=2)
    report = compare_retrievers(ExactRetriever(items), beam, users, [10])
    assert report["index_recall@10"] > 0.9
    assert report["scored_fraction"] < 0.1
    # By hand: 8 coarse nodes, then the children of 2, then the items of 2 nodes, per user.
    _, found = beam.search(users[:1], 5)
    assert len(set(fine[found[0]].tolist())) <= 2


@pytest.mark.parametrize("share", [0.5, 1])
def test_scored_counts_inner_products(share, monkeypatch):
    monkeypatch.setattr("recbole_hill.retrieval.descent.GATHERED_SHARE", share)
    items = torch.arange(12.0).reshape(6, 2)
    # Nodes 0, 1, 2 have 3, 2 and 1 items; nodes 0 and 1 are in the first node of depth 2.
    parents = (np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1]))
    index = HierarchicalIndex.build(list("abcdef"), parents, items.numpy())
    users = torch.tensor([[1.0, 1], [-1, -1]])  # the first likes large vectors, the second small
    expected = {
        "full": (6, 6),  # nothing to choose at any depth
        1: (2 + 1 + 1, 2 + 2 + 3),
        (2, 1): (2 + 1 + 1, 2 + 2 + 5),
        (1, 2): (3 + 1, 3 + 3),  # both nodes of depth 2 are kept, so they are not scored
    }
    if share == 0.5:  # two of three nodes are more than half of the depth
        expected |= {(2, 1): (2 + 1 + 6, 2 + 2 + 6)}
    for width, counts in expected.items():
        for user, count in zip(users, counts, strict=True):
            beam = BeamRetriever(index, items, beam_width=width)
            beam.search(user[None].repeat(4, 1), 1)
            assert beam.scored == 4 * count and beam.queries == 4
            assert beam.scored_fraction() == pytest.approx(count / 6)


def test_bad_calls(made):
    retrievers, users, items, ids, _ = made
    exact = retrievers["exact"]
    with pytest.raises(ValueError, match="k must be at least 1"):
        exact.search(users, 0)
    with pytest.raises(ValueError, match=r"users must have shape \(B, 4\)"):
        exact.search(users[:, :3], 5)
    diverged = users.clone()
    diverged[[2, 9], 1] = torch.tensor([torch.nan, torch.inf])
    for retriever in retrievers.values():
        message = r"users must be finite, but 2 of 25 are not \(row 2, 9\)"
        with pytest.raises(ValueError, match=message):
            retriever.search(diverged, 5)
    with pytest.raises(ValueError, match=r"one length, got shapes \(2,\) and \(1,\)"):
        exact.search(users, 5, (torch.tensor([0, 1]), torch.tensor([3])))
    with pytest.raises(ValueError, match=r"outside 0\.\.24"):
        exact.search(users, 5, (torch.tensor([25]), torch.tensor([3])))
    with pytest.raises(ValueError, match="ascending ids"):
        ExactRetriever(items, ids.flip(0))
    index = retrievers["beam"]
    tree = kmeans_index(items.numpy(), [str(i) for i in range(60)], [12, 4], seed=0)
    for width in (0, [1], [1, 0], [], "wide", None, [1, 2.5]):
        with pytest.raises(ValueError, match="beam_width must be"):
            BeamRetriever(tree, items, beam_width=width)
    for make in (BeamRetriever, FaissRetriever):
        with pytest.raises(ValueError, match="the index holds 60 items, the vectors 59"):
            make(tree, items[:59], beam_width=1)
        with pytest.raises(ValueError, match="node vectors are 4 wide, the item vectors 3"):
            make(tree, items[:, :3], beam_width=1)
        damaged = items.clone()
        damaged[[7, 8, 9, 30], 0] = torch.nan
        message = r"item_vectors must be finite, but 4 of 60 are not \(row 7, 8, 9, \.\.\.\)"
        with pytest.raises(ValueError, match=message):
            make(tree, damaged, beam_width=1)
    assert index.widths == (4, 12)


def test_index_recall_by_hand():
    exact = torch.tensor([[1, 2, 3], [4, 5, -1]])
    found = torch.tensor([[3, 9, 1], [-1, -1, -1]])
    assert index_recall(exact, found) == pytest.approx(2 / 5)
    # The other list's item 3 is not this list's.
    assert index_recall(exact.flip(0), found) == 0
    assert index_recall(torch.full((2, 3), -1), found) == 1


def test_comparison_leaves_out_what_is_excluded_and_what_was_scored_before():
    items = torch.eye(4)
    index = kmeans_index(items.numpy(), list("abcd"), [4], seed=0)
    beam = BeamRetriever(index, items, beam_width=1)
    beam.search(torch.ones(7, 4), 1)
    users = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3]])
    exact = ExactRetriever(items)
    report = compare_retrievers(exact, beam, users, [1])
    assert report["index_recall@1"] == 1 and report["scored_fraction"] == (4 + 1) / 4
    assert report["items_fraction"] == 1 / 4  # without the nodes
    seen = (torch.tensor([0]), torch.tensor([0]))
    report = compare_retrievers(exact, beam, users, [1], exclude=seen)
    # The first user's node has no other item, so that the best two nodes are searched for him.
    assert report["index_recall@1"] == 1
    assert report["scored_fraction"] == (4 + 1 + (4 + 2) / 2) / 4
    assert report["items_fraction"] == (1 + 2 / 2) / 4


def test_a_search_in_words():
    cost = {"index_recall@10": 0.9912, "index_recall@20": 0.98, "scored_fraction": 0.2334}
    assert retrieval_note(cost) == (
        "beam search found 0.991, 0.980 of exact search's top 10, 20; with its nodes it took 23.3% "
        "of exact search's inner products"
    )
    cost |= {"search": "faiss", "items_fraction": 0.1084}
    started = "faiss search scored 10.8% of the items and found 0.991, 0.980 of exact search's top"
    assert retrieval_note(cost).startswith(started)


SEARCHES = {
    "exact": lambda index, items: ExactRetriever(items),
    "beam": lambda index, items: BeamRetriever(index, items, beam_width=1),
    "faiss": lambda index, items: FaissRetriever(index, items, beam_width=1),
    "faiss nodes": lambda index, items: FaissRetriever(index, items, probe="nodes", n_probe=1),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_single_item(name):
    items = torch.tensor([[1.0, 2.0]])
    index = kmeans_index(items.numpy(), ["a"], [1, 1], seed=0)
    search = SEARCHES[name](index, items)
    scores, ids = search.search(torch.tensor([[1.0, 1], [0, -1]]), 3)
    assert ids.tolist() == [[0, -1, -1]] * 2 and scores[:, 0].tolist() == [3, -2]
    seen = search.search(torch.ones(1, 2), 3, (torch.tensor([0]), torch.tensor([0])))
    assert seen[1].tolist() == [[-1, -1, -1]] and (seen[0] == -torch.inf).all()


@pytest.mark.parametrize("name", SEARCHES)
def test_items_that_are_all_the_same_come_by_id(name):
    items = torch.ones(40, 3)
    index = kmeans_index(items.numpy(), [str(i) for i in range(40)], [1], seed=0)
    exclude = (torch.tensor([0, 0, 1]), torch.tensor([0, 2, 39]))
    found = SEARCHES[name](index, items).search(torch.ones(2, 3), 4, exclude)[1]
    assert found.tolist() == [[1, 3, 4, 5], [0, 1, 2, 3]]
    found = SEARCHES[name](index, items).search(torch.ones(1, 3), 41)[1]
    assert found.tolist() == [[*range(40), -1]]


def test_an_index_with_more_nodes_than_items_is_refused():
    with pytest.raises(ValueError, match="asks for 5 nodes at depth 1, over 4"):
        kmeans_index(np.eye(4), list("abcd"), [5], seed=0)
    with pytest.raises(ValueError, match="every depth-1 node must have a child"):
        HierarchicalIndex(list("ab"), ([0, 1],), (np.eye(3),), ([0, 1, 1],))


def test_a_beam_wider_than_a_level_keeps_it_all():
    items = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    index = kmeans_index(items.numpy(), [str(i) for i in range(30)], [6, 2], seed=0)
    expected = ExactRetriever(items).search(items, 5)[1]
    for search in (
        BeamRetriever(index, items, beam_width=1000),
        FaissRetriever(index, items, beam_width=1000),
        FaissRetriever(index, items, probe="nodes", n_probe=1000),
    ):
        assert torch.equal(search.search(items, 5)[1], expected)


def test_items_of_a_wide_level_under_a_narrow_one_are_scored_in_bounded_memory(monkeypatch):
    monkeypatch.setattr("recbole_hill.retrieval.descent.BLOCK_ENTRIES", 600)
    items = torch.randn(60, 4)
    parents = (np.arange(60) // 10, np.arange(6) // 3)
    index = HierarchicalIndex.build([str(i) for i in range(60)], parents, items.numpy())
    # Up to 6 nodes of depth 1 are kept, but one node of depth 2 has only 3: their 30 items.
    assert BeamRetriever(index, items, beam_width=(6, 1)).block == 600 // (30 * 4)


def test_scoring_a_whole_depth_finds_what_gathering_finds(monkeypatch):
    torch.manual_seed(5)
    items, users = torch.randn(200, 8), torch.randn(40, 8)
    index = kmeans_index(items.numpy(), [str(i) for i in range(200)], [40, 10, 3], seed=0)
    seen = (torch.arange(40), torch.arange(40) * 5)
    for width in (1, 3, (2, 10, 1), (40, 3, 2)):
        found, scored = [], []
        for share in (0, 1):
            monkeypatch.setattr("recbole_hill.retrieval.descent.GATHERED_SHARE", share)
            search = BeamRetriever(index, items, beam_width=width)
            found.append(search.search(users, 30, seen))
            scored.append(search.scored)
        assert torch.equal(found[0][1], found[1][1])
        torch.testing.assert_close(found[0][0], found[1][0])
        assert scored[0] > scored[1]


def test_retrievers_by_name():
    items = torch.randn(21, 4)  # the first row is RecBole's padding
    index = kmeans_index(items[1:].numpy(), [str(i) for i in range(20)], [5, 2], seed=0)
    stale = index.with_vectors([np.zeros_like(v) for v in index.vectors])
    found = {}
    for name in RETRIEVALS:
        for width in (2, "full"):
            search = choose_retriever(name, items, stale, beam_width=width)
            assert search.search(items[1:], 20)[1].sort().values.tolist() == [[*range(1, 21)]] * 20
            found[name, width] = search.search(items[1:], 3)[1]
            assert search.scored > 0
    exact = found["exact", 2]
    assert all(torch.equal(found[name, "full"], exact) for name in RETRIEVALS)
    assert torch.equal(found["beam", 2], found["faiss", 2])
    assert not torch.equal(found["beam", 2], exact)
    with pytest.raises(ValueError, match="retrieval must be one of exact, beam, faiss, got 'hnsw'"):
        choose_retriever("hnsw", items, index, beam_width=2)
    with pytest.raises(ValueError, match="retrieval beam needs an index"):
        choose_retriever("beam", items, beam_width=2)
    with pytest.raises(ValueError, match="probe must be one of beam, nodes, got 'all'"):
        FaissRetriever(index, items[1:], probe="all", n_probe=1)
    with pytest.raises(ValueError, match="n_probe must be a positive integer, got 0"):
        FaissRetriever(index, items[1:], probe="nodes", n_probe=0)


def test_vectors_that_want_gradients(made):
    retrievers, users, *_ = made
    for retriever in retrievers.values():
        scores, ids = retriever.search(torch.nn.Parameter(users), 3)
        assert not scores.requires_grad and torch.equal(ids, retriever.search(users, 3)[1])
