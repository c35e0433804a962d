"""Nodes scored by what their best item is expected to score: values by hand, search, gains."""

import math

import numpy as np
import pytest
import torch
from test_retrieval import slow_beam

from recbole_hill.index.em import kmeans_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_scores import lead_of_best
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever


def made(seed: int, n_items: int = 90, dim: int = 5):
    """Returns items and users, both wider along some directions, and a tree of 20 and 4 nodes."""
    rng = np.random.default_rng(seed)
    weights = 2.0 ** -np.arange(dim)
    items, users = ((rng.normal(size=(n, dim)) * weights).astype(np.float32) for n in (n_items, 30))
    index = kmeans_index(items, [str(i) for i in range(n_items)], [20, 4], seed=0)
    return torch.from_numpy(items), torch.from_numpy(users), index


def test_by_hand():
    items = np.array([[3, 0], [-1, 0], [0, 2], [0, -4], [0, 0], [4, 2]], dtype=np.float32)
    index = HierarchicalIndex.build(list("abcdef"), [[0, 0, 1, 1, 1, 2], [0, 0, 1]], items)
    # The mean is (1, 0): columns less it are (2, -2, -1, -1, -1, 3) and (0, 0, 2, -4, 0, 2).
    covariance = np.array([[20, 8], [8, 24]]) / 44
    depth_1, depth_2 = lead_of_best(index, items)
    # Node 0: (1, 0) +- (2, 0). Node 1: (0, -2/3), its items at 0, 2, -4 of the second column.
    first = math.sqrt(2 * math.log(2) * 4 * covariance[0, 0])
    second = math.sqrt(2 * math.log(3) * (56 / 9) * covariance[1, 1])
    assert depth_1 == pytest.approx([first, second, 0], rel=1e-5)
    away = items[:5] - items[:5].mean(0)
    squares = [a @ covariance @ a for a in away]
    assert depth_2 == pytest.approx([math.sqrt(2 * math.log(5) * np.mean(squares)), 0], rel=1e-5)


def test_a_block_at_a_time_is_the_same(monkeypatch):
    items, _, index = made(1)
    whole = lead_of_best(index, items.numpy())
    for module in ("hierarchy", "score_space"):
        monkeypatch.setattr(f"recbole_hill.index.{module}.BLOCK", 7)
    for ours, expected in zip(lead_of_best(index, items.numpy()), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_items_that_are_all_the_same_lead_by_nothing():
    items = np.ones((6, 3), dtype=np.float32)
    index = HierarchicalIndex.build(list("abcdef"), [[0, 0, 0, 1, 1, 1]], items)
    assert lead_of_best(index, items)[0].tolist() == [0, 0]


@pytest.mark.parametrize("widths", [(1, 1), (5, 2), (9, 3), (6, 4)])
def test_search_against_plain_python(widths):
    items, users, index = made(2)
    leads = lead_of_best(index, items.numpy())
    nodes = [np.column_stack(pair) for pair in zip(index.vectors, leads, strict=True)]
    longer = torch.cat((users, users.norm(dim=1, keepdim=True)), 1)
    padded = torch.nn.functional.pad(items, (0, 1))  # an item leads itself by nothing
    exclude = (torch.arange(30), torch.arange(30))
    expected = slow_beam(index.with_vectors(nodes), longer, padded, widths, 10, exclude)
    beam = BeamRetriever(index, items, beam_width=widths, node_score="best")
    assert torch.equal(beam.search(users, 10, exclude)[1], expected)
    faiss = FaissRetriever(index, items, beam_width=widths, node_score="best")
    assert torch.equal(faiss.search(users, 10, exclude)[1], expected)


def test_the_scale_of_users_and_items_changes_nothing():
    items, users, index = made(3)
    expected = BeamRetriever(index, items, beam_width=(4, 2), node_score="best").search(users, 5)[1]
    scaled = index.refreshed(items.numpy() * 4)
    beam = BeamRetriever(scaled, items * 4, beam_width=(4, 2), node_score="best")
    assert torch.equal(beam.search(users / 8, 5)[1], expected)


def test_a_wide_node_hides_the_best_item_from_its_mean():
    items = torch.tensor([[3.0, 0], [-1, 0], [1.5, 1], [1.5, -1]])
    index = HierarchicalIndex.build(list("abcd"), [[0, 0, 1, 1]], items.numpy())
    user = torch.tensor([[1.0, 0]])
    for node_score, best in (("mean", 2), ("best", 0)):
        beam = BeamRetriever(index, items, beam_width=1, node_score=node_score)
        assert beam.search(user, 1)[1].item() == best


def test_it_finds_more_for_no_more():
    rng = np.random.default_rng(0)
    scale = 0.9 ** np.arange(32)
    items, users = (torch.from_numpy(rng.normal(size=(n, 32)) * scale).float() for n in (4000, 300))
    index = kmeans_index(items.numpy(), [str(i) for i in range(4000)], [400, 20], seed=0)
    exact = ExactRetriever(items).search(users, 20)[1]
    found = {}
    for node_score, widths in (("best", (60, 8)), ("mean", (66, 8))):
        beam = BeamRetriever(index, items, beam_width=widths, node_score=node_score)
        lists = beam.search(users, 20)[1]
        hits = (exact.unsqueeze(2) == lists.unsqueeze(1)).any(2).double().mean()
        found[node_score] = float(hits), beam.scored
    assert found["best"][0] > found["mean"][0] + 0.004  # .968 and .962
    assert found["best"][1] < found["mean"][1]


def test_neither():
    items, _, index = made(4)
    with pytest.raises(ValueError, match="node_score must be one of mean, best, got 'max'"):
        BeamRetriever(index, items, beam_width=1, node_score="max")
