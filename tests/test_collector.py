"""Top lists beside torch.topk and RecBole's own collector, equal to the bit."""

from types import SimpleNamespace

import pytest
import torch
from recbole.evaluator.collector import Collector, DataStruct

from recbole_hill.evaluation.collector import WIDTH, TopListCollector, best_columns


def scores_of(kind: str, rows: int = 12, columns: int = 60 * WIDTH + 17) -> torch.Tensor:
    torch.manual_seed(0)
    scores = torch.randn(rows, columns)
    if kind == "tied":
        scores = (scores * 20).round()
    elif kind == "all tied":
        scores.fill_(1.0)
    elif kind == "masked":
        scores[:, 7:] = -torch.inf
    elif kind == "in the rest":
        scores[:, -17:] += 10
    elif kind == "one block":
        scores[:, 2 * WIDTH : 3 * WIDTH] += 10
    return scores


@pytest.mark.parametrize("kind", ["any", "tied", "all tied", "masked", "in the rest", "one block"])
@pytest.mark.parametrize("k", [1, 10])
def test_best_columns_are_torch_topks(kind, k):
    scores = scores_of(kind)
    assert torch.equal(best_columns(scores, k), scores.topk(k)[1])


def test_short_rows_are_left_to_torch():
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    assert best_columns(scores, 2).tolist() == [[1, 2]]


def collected(kind: type, needed: set, scores: torch.Tensor, pairs) -> DataStruct:
    collector = kind.__new__(kind)
    collector.topk, collector.device = [3, 10], torch.device("cpu")
    collector.register = SimpleNamespace(need=lambda key: key in needed)
    collector.data_struct = DataStruct()
    collector.eval_batch_collect(scores.clone(), None, *pairs)
    return collector.data_struct


@pytest.mark.parametrize("needed", [{"rec.topk"}, {"rec.items", "rec.topk"}, {"rec.meanrank"}])
@pytest.mark.parametrize("kind", ["any", "tied"])
def test_what_is_collected_is_recboles(needed, kind):
    scores = scores_of(kind)
    users = torch.arange(12).repeat_interleave(5)
    best = scores.topk(30)[1]  # so that there are hits
    items = torch.cat([best[row, torch.randperm(30)[:5]] for row in range(12)])
    items[::2] = torch.randint(0, scores.shape[1], (30,))
    pairs = users[5:], items[5:]  # the first user has none
    ours = collected(TopListCollector, needed, scores, pairs)
    theirs = collected(Collector, needed, scores, pairs)
    for key in needed:
        assert ours[key].dtype == theirs[key].dtype
        assert torch.equal(ours[key], theirs[key])
    if "rec.topk" in needed:
        assert 0 < int(ours["rec.topk"][:, :-1].sum()) < 55


def test_what_no_search_found_is_no_hit():
    """RecBole fills a short list up with whatever columns come first."""
    scores = scores_of("masked")  # seven items are found
    every = torch.arange(scores.shape[1])
    pairs = torch.zeros_like(every), every
    assert collected(Collector, {"rec.topk"}, scores, pairs)["rec.topk"][0, :10].sum() == 10
    hits = collected(TopListCollector, {"rec.topk"}, scores, pairs)["rec.topk"]
    assert hits[0].tolist() == [1] * 7 + [0] * 3 + [len(every)]
