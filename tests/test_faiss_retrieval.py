"""FAISS over the learned hierarchy: same lists, same counts, same ids as a plain FAISS index."""

import shutil
import sys

import faiss
import numpy as np
import pytest
import torch

from recbole_hill.index.em import kmeans_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.pipeline import run
from recbole_hill.report.tables import arms_table
from recbole_hill.retrieval import faiss_ivf
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.inverted_file import inverted_file

N_ITEMS, DIM = 400, 8


@pytest.fixture(scope="module", params=["integers", "floats"])
def made(request):
    """Items, users, an index, and histories from none to nearly all items."""
    rng = np.random.default_rng(1)
    if request.param == "integers":  # exact arithmetic and many ties
        items, users = (rng.integers(-1, 2, (n, DIM)) for n in (N_ITEMS, 60))
    else:
        items, users = (rng.normal(size=(n, DIM)) for n in (N_ITEMS, 60))
    items, users = (torch.from_numpy(part).float() for part in (items, users))
    index = kmeans_index(items.numpy(), [str(i) for i in range(N_ITEMS)], [40, 8], seed=0)
    lengths = torch.tensor([0, 1, 3, 20, 150, 398])[torch.arange(60) % 6]
    seen = torch.cat([torch.from_numpy(rng.permutation(N_ITEMS)[:n]) for n in lengths])
    return items, users, index, (torch.arange(60).repeat_interleave(lengths), seen)


@pytest.mark.parametrize("widths", [1, 3, (5, 8), (40, 2), "full"])
@pytest.mark.parametrize("k", [1, 10, 400])
def test_a_beam_into_faiss_finds_what_the_beam_finds(made, widths, k):
    items, users, index, exclude = made
    for seen in (None, exclude):
        beam = BeamRetriever(index, items, beam_width=widths)
        search = FaissRetriever(index, items, beam_width=widths)
        expected, found = beam.search(users, k, seen), search.search(users, k, seen)
        assert torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[0], expected[0])
        assert found[1].dtype == torch.int64 and found[0].dtype == torch.float32


def test_integer_ties_among_nodes_and_items_go_by_id():
    rng = np.random.default_rng(5)
    items, users = (torch.from_numpy(rng.integers(0, 2, (n, 3))).float() for n in (200, 20))
    parents = (np.r_[np.arange(20), rng.integers(0, 20, 180)], np.arange(20) // 5)
    nodes = [rng.integers(0, 2, (n, 3)) for n in (20, 4)]
    tokens = [str(i) for i in range(200)]
    index = HierarchicalIndex.build(tokens, parents, items.numpy(), vectors=nodes)
    for widths in ((1, 1), (3, 2), (7, 3), (20, 4)):
        for k in (1, 7, 50):
            expected = BeamRetriever(index, items, beam_width=widths).search(users, k)[1]
            found = FaissRetriever(index, items, beam_width=widths).search(users, k)[1]
            assert torch.equal(found, expected)


@pytest.mark.parametrize("n_probe", [1, 6, 39])
def test_probing_by_nodes_by_hand(made, n_probe):
    items, users, index, exclude = made
    banned = torch.zeros(60, N_ITEMS, dtype=torch.bool)
    banned[exclude] = True
    search = FaissRetriever(index, items, probe="nodes", n_probe=n_probe)
    quantizer = faiss.IndexFlatIP(DIM)
    quantizer.add(index.vectors[0].copy())
    picked = quantizer.search(users.numpy(), n_probe)[1]
    own = (index.parents[0][None, None, :] == picked[:, :, None]).any(1)  # (B, I)
    scores = (users @ items.T).masked_fill(~torch.from_numpy(own) | banned, -torch.inf)
    best = scores.sort(dim=1, descending=True, stable=True)
    expected = [best.values[:, :12], best.indices[:, :12]]
    expected[1][expected[0] == -torch.inf] = -1
    short = (expected[1] >= 0).sum(1) < (N_ITEMS - banned.sum(1)).clamp_max(12)
    assert short.any() == (n_probe < 39) and not short.all()
    # Too few items in the lists: our own search with twice as many nodes.
    wider = BeamRetriever(index, items, beam_width=[2 * n_probe, 8])
    for part, filled in zip(expected, wider.search(users, 12, exclude), strict=True):
        part[short] = filled[short]
    found = search.search(users, 12, exclude)
    torch.testing.assert_close(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_scored_counts_inner_products_as_faiss_does():
    rng = np.random.default_rng(2)
    items, users = (torch.from_numpy(rng.normal(size=(n, DIM))).float() for n in (300, 50))
    index = kmeans_index(items.numpy(), [str(i) for i in range(300)], [30, 6], seed=0)
    seen = (torch.arange(50), torch.arange(50) * 6)
    for width in (1, 4, (3, 6)):
        beam = BeamRetriever(index, items, beam_width=width)
        search = FaissRetriever(index, items, beam_width=width)
        for retriever in (beam, search):
            faiss.cvar.indexIVF_stats.reset()
            retriever.search(users, 1, seen)
        assert search.scored == beam.scored
        above = search.scored - faiss.cvar.indexIVF_stats.ndis
        if width == 1:
            assert 50 * 6 < above < 50 * 36  # the children of one node of six are gathered
        else:  # of more, all 30 are scored; of all, only they are
            assert above == (50 * 36 if width == 4 else 50 * 30)
    nodes = FaissRetriever(index, items, probe="nodes", n_probe=3)
    faiss.cvar.indexIVF_stats.reset()
    nodes.search(users, 1, seen)
    assert nodes.scored == 50 * 30 + faiss.cvar.indexIVF_stats.ndis
    assert nodes.scored_fraction() == pytest.approx(nodes.scored / 50 / 300)
    full = FaissRetriever(index, items, beam_width="full")
    full.search(users, 10)
    assert full.scored == 50 * 300  # nothing to choose, so no node is scored


def test_a_long_history_does_not_make_everybody_fetch_as_many(made):
    counts = torch.bincount(made[3][0], minlength=60)
    fetches = {length: rows for rows, length in faiss_ivf._fetches(counts, 10, N_ITEMS)}
    assert sorted(fetches) == [11, 12, 14, 31, 161, 400]
    for length, rows in fetches.items():
        assert len(rows) == 10 and min(int(counts[rows].max()) + 11, N_ITEMS) == length


def test_what_is_fetched_at_a_time_is_bounded(made, monkeypatch):
    monkeypatch.setattr(faiss_ivf, "BLOCK_ENTRIES", 1000)
    items, users, index, exclude = made
    parts = list(faiss_ivf._fetches(torch.full((60,), 89), 10, N_ITEMS))
    assert [len(rows) for rows, _ in parts] == [10] * 6 and parts[0][1] == 100
    search = FaissRetriever(index, items, beam_width=3)
    assert search.block == 1000 // 40
    expected = BeamRetriever(index, items, beam_width=3).search(users, 10, exclude)[1]
    assert torch.equal(search.search(users, 10, exclude)[1], expected)


@pytest.mark.parametrize("n_probe", [1, 6, 40])
def test_a_written_index_is_searched_by_plain_faiss(made, tmp_path, n_probe):
    items, users, index, _ = made
    search = FaissRetriever(index, items, probe="nodes", n_probe=n_probe)
    faiss.write_index(search.faiss_index, str(tmp_path / "index.faiss"))
    read = faiss.read_index(str(tmp_path / "index.faiss"))
    assert read.ntotal == N_ITEMS and read.nlist == 40 and read.nprobe == n_probe
    assert read.is_trained and read.metric_type == faiss.METRIC_INNER_PRODUCT
    scores, ids = read.search(users.numpy(), 10)
    expected_scores, expected = search.search(users, 10)
    mine = expected_scores.numpy()
    # Plain FAISS does not scan more lists where these have too few items, as ours does.
    short = (ids < 0).any(1)
    assert short.any() == (n_probe == 1) and not short.all()
    scores, ids, mine, expected = (part[~short] for part in (scores, ids, mine, expected))
    np.testing.assert_allclose(scores, mine, rtol=1e-5, atol=1e-6)
    for row in range(len(ids)):  # plain FAISS leaves the order of ties open, above all at the end
        sure = mine[row] > mine[row, -1]
        assert set(ids[row, sure]) == set(expected[row, torch.from_numpy(sure)].tolist())


def test_the_lists_are_the_learnt_ones(made):
    items, _, index, _ = made
    built = inverted_file(index, items.numpy())
    for node in range(40):
        size = built.invlists.list_size(node)
        ids = faiss.rev_swig_ptr(built.invlists.get_ids(node), size)
        np.testing.assert_array_equal(np.sort(ids), np.flatnonzero(index.parents[0] == node))
    stored = faiss.downcast_index(built.quantizer).reconstruct_n(0, 40)
    np.testing.assert_array_equal(stored, index.vectors[0])


def test_a_run_evaluates_through_faiss(run_folder, tmp_path):
    """Its lists are the beam's, so its metrics are; every stage is done, so nothing is trained."""
    rows = {}
    for name in ("beam", "faiss"):
        folder = tmp_path / name
        shutil.copytree(run_folder, folder)
        rows[name] = run(resume=str(folder), overrides={"retrieval": name}).rows[-1]
        assert rows[name]["arm"] == "HILL"
        assert rows[name]["retrieval"]["search"] == name
        assert f"{name} search scored " in arms_table([rows[name]])
    assert rows["faiss"]["metrics"] == rows["beam"]["metrics"]
    for measure in ("scored_fraction", "index_recall@10"):
        assert rows["faiss"]["retrieval"][measure] == rows["beam"]["retrieval"][measure]


def test_bad_settings_and_missing_faiss(made, monkeypatch):
    items, _, index, _ = made
    with pytest.raises(ValueError, match="beam_width must be a positive integer"):
        FaissRetriever(index, items)
    with pytest.raises(ValueError, match="n_probe must be a positive integer, got None"):
        FaissRetriever(index, items, probe="nodes")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="retrieval: faiss needs faiss-cpu"):
        FaissRetriever(index, items, beam_width=1)
