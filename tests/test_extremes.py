"""Sizes and numbers at the edge: the right value, or an error with a name, and no crash."""

import numpy as np
import pytest
import torch

from recbole_hill.checks import LARGEST
from recbole_hill.host.threads import set_threads
from recbole_hill.index.em import cluster, kmeans_index
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule
from recbole_hill.pipeline import run
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.serve.loaded_run import LoadedRun


def slow(users, items, k):
    """Returns each user's best items, ties by id, padded with -1."""
    lists = []
    for user in users.tolist():
        scores = [sum(a * b for a, b in zip(user, item, strict=True)) for item in items.tolist()]
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
        lists.append(order + [-1] * (k - len(order)))
    return lists


ITEMS = {
    "zeros": torch.zeros(6, 3),
    "one item": torch.tensor([[1.0, -2.0, 0.5]]),
    "two alike": torch.tensor([[1.0, 2.0], [1.0, 2.0]]),
    "one dimension": torch.tensor([[3.0], [-1.0], [2.0], [2.0], [0.0]]),
    "as large as may be": torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 1.0]]) * 2.0**49,
    "as small as may be": torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 1.0]]) * 2.0**-60,
}


@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("name", ITEMS)
def test_every_search_against_plain_python(name, k):
    items = ITEMS[name]
    n, dim = items.shape
    whole = torch.randint(-3, 4, (4, dim), generator=torch.Generator().manual_seed(0)).float()
    tokens = [str(i) for i in range(n)]
    trees = [
        kmeans_index(items.numpy(), tokens, sizes, direction=direction, seed=0)
        for sizes in ([1], [n], [n, n], [n, 1])
        for direction in ("bottom_up", "top_down")
    ]
    searches = [ExactRetriever(items)]
    for tree in trees:
        searches += [
            kind(tree, items, beam_width="full") for kind in (BeamRetriever, FaissRetriever)
        ]
        searches.append(FaissRetriever(tree, items, probe="nodes", n_probe=n))
    for users in (whole, whole[:1], whole[:0]):
        for search in searches:
            scores, ids = search.search(users, k)
            assert ids.tolist() == slow(users, items, k)
            assert (scores[ids == -1] == -torch.inf).all() and scores.shape == (len(users), k)


def learned(sizes, dim, direction):
    return LearnedIndex(
        sizes,
        dim,
        direction=direction,
        schedule=Schedule(alpha=4.0, alpha_power=2.0, steps=1, warmup_steps=0),
    )


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
@pytest.mark.parametrize("size", [1e20, 2e15, np.inf, np.nan])
def test_vectors_that_would_overflow_are_refused(direction, size):
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    vectors[7] = size
    said = r"item vectors must be finite, but 1 of 20 are not \(row 7\); .* up to 1e\+15 in size"
    with pytest.raises(ValueError, match=said):
        cluster(vectors, 3, seed=0)
    with pytest.raises(ValueError, match=said):
        kmeans_index(vectors, [str(i) for i in range(20)], [3], direction=direction, seed=0)
    with pytest.raises(ValueError, match=said):
        learned([3], 4, direction).fit(torch.from_numpy(vectors), epochs=1)
    with pytest.raises(ValueError, match="item_vectors must be finite"):
        ExactRetriever(torch.from_numpy(vectors))


@pytest.mark.parametrize("scale", [LARGEST / 10, 1.0, 1e-12])
def test_clusters_do_not_depend_on_the_scale(scale):
    centres = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    noise = np.random.default_rng(0).normal(size=centres.shape).astype(np.float32) * 0.01
    vectors = (centres + noise) * np.float32(scale)
    found, assignment = cluster(vectors, 4, seed=0)
    assert np.isfinite(found).all()
    assert [len(set(group)) for group in assignment.reshape(4, 5).tolist()] == [1] * 4
    assert len(set(assignment.tolist())) == 4


@pytest.mark.parametrize("vectors", [torch.zeros(4, 3), torch.ones(4, 1), torch.eye(4)])
@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
def test_a_learned_index_of_few_or_equal_items(vectors, direction):
    index = learned([4, 2], vectors.shape[1], direction).fit(vectors, epochs=2)
    tree = index.publish(["a", "b", "c", "d"], vectors)
    assert sorted(tree.items.tolist()) == ["a", "b", "c", "d"]
    assert all(np.isfinite(each).all() for each in tree.vectors)


@pytest.mark.parametrize("number", [100_000, 0, -1, 1.5, True, "2"])
def test_the_number_of_threads_is_bounded(number, tiny_path, in_tmp):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="threads"):
        set_threads(number)
    set_threads(None)
    set_threads(before)
    assert torch.get_num_threads() == before


def test_long_lists_hold_the_catalogue_at_most(run_folder):
    served = LoadedRun.load(run_folder)
    (_, scores, items), *_ = served.search(torch.arange(1, 4), 10**6, served.retriever("exact"))
    assert scores.shape == items.shape == (3, 48)
    assert served.recommend("3", 10**6, retrieval="exact") == served.recommend(
        "3", 48, retrieval="exact"
    )


def test_a_run_refuses_too_many_threads(tiny_path, in_tmp):
    settings = {"data_path": str(tiny_path), "threads": 100_000, "state": "ERROR"}
    with pytest.raises(ValueError, match=r"threads must be .*100000"):
        run("BPR", "tiny", overrides=settings)
