"""Walks against their exact probabilities, skip-grams on planted groups, and both inside HILL."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_settings
from contract import built, skip_without

from recbole_hill.config.config import HillConfig
from recbole_hill.data.graph import InteractionGraph
from recbole_hill.data.splits import load_data
from recbole_hill.data.walks import Walker
from recbole_hill.host import optional
from recbole_hill.model.bases import skip_gram
from recbole_hill.model.bases.skip_gram import Sentences
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.run.checkpoint import load_weights

# Padding row and column; user 4 and item 5 have no edge.
MATRIX = sp.csr_matrix(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 1, 1, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)
N_USERS, N_ITEMS = MATRIX.shape


def walks(n_walks=400, length=7, seed=0, **bias) -> np.ndarray:
    walker = Walker(InteractionGraph(MATRIX), **bias)
    return walker.walks(n_walks, length, np.random.default_rng(seed))


@pytest.mark.parametrize("bias", [{}, {"p": 0.25, "q": 2.0}, {"p": 4.0, "q": 0.5}])
def test_steps_have_node2vecs_probabilities(bias):
    p, q = bias.get("p", 1.0), bias.get("q", 1.0)
    adjacency = sp.bmat([[None, MATRIX], [MATRIX.T, None]]).toarray() > 0
    found = walks(n_walks=5_000, length=5, **bias)
    triples = np.concatenate([found[:, start : start + 3] for start in range(3)])
    for before, node in np.argwhere(adjacency):
        nexts = triples[(triples[:, 0] == before) & (triples[:, 1] == node)][:, 2]
        counts = np.bincount(nexts, minlength=len(adjacency))
        weights = np.where(adjacency[node], 1 / q, 0)
        weights[before] = 1 / p
        expected = weights / weights.sum()
        error = 5 * np.sqrt(expected * (1 - expected) / len(nexts)) + 1e-12
        assert (np.abs(counts / len(nexts) - expected) <= error).all()


def test_first_steps_are_uniform_over_edges():
    found = walks(n_walks=20_000, length=2)
    for node in np.unique(found[:, 0]):
        counts = np.bincount(found[found[:, 0] == node, 1])
        counts = counts[counts > 0]
        assert counts / 20_000 == pytest.approx(1 / len(counts), abs=0.02)


def test_walks_use_edges_only_and_alternate_sides():
    found = walks(p=0.5, q=3.0)
    for before, after in ((found[:, i], found[:, i + 1]) for i in range(found.shape[1] - 1)):
        assert ((before < N_USERS) != (after < N_USERS)).all()
        users, items = np.minimum(before, after), np.maximum(before, after) - N_USERS
        assert np.asarray(MATRIX[users, items] == 1).all()


def test_every_node_with_an_edge_starts_as_many_walks():
    starts, counts = np.unique(walks(n_walks=3)[:, 0], return_counts=True)
    assert starts.tolist() == [1, 2, 3, *(N_USERS + item for item in (1, 2, 3, 4))]
    assert (counts == 3).all()


def test_walks_repeat_with_their_seed():
    assert (walks(seed=1) == walks(seed=1)).all()
    assert (walks(seed=1) != walks(seed=2)).any()


@pytest.mark.parametrize(
    "changes", [{"p": 0}, {"q": -1.0}, {"n_walks": 0}, {"length": 1}], ids=lambda c: next(iter(c))
)
def test_bad_walks_are_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        walks(**changes)


def test_sentences_are_read_again_and_counted():
    sentences = Sentences(np.array([3, 1, 3, 0]), np.array([0, 3, 3, 4]))
    for _ in range(2):
        assert list(sentences) == [["3", "1", "3"], ["0"]]
    assert sentences.counts() == {"0": 1, "1": 1, "3": 2}


def test_long_sentences_are_cut_into_parts_that_gensim_takes():
    sentences = Sentences(np.zeros(25_000, dtype=int), np.array([0, 25_000]))
    assert [len(part) for part in sentences] == [10_000, 10_000, 5_000]


# -- models -----------------------------------------------------------------------------------


def fitted(name, path, folder, **changes):
    skip_without("gensim")
    model, _, data = built(name, path, folder, **changes)
    model.fit_once()
    return model, data


@pytest.mark.parametrize("score", ["cosine", "dot"])
def test_item2vec_user_is_the_mean_of_its_items(tiny_path, tmp_path, score):
    model, data = fitted("Item2Vec", tiny_path, tmp_path, score=score, skip_gram_passes=2)
    table = model.item_embedding.weight.detach().numpy()
    users, items = (vectors.detach().numpy() for vectors in model.vectors())
    train = data.train._dataset.inter_matrix(form="csr")
    for user in (1, 7, 80):
        mean = table[train[user].indices].mean(0)
        length = np.linalg.norm(mean) if score == "cosine" else 1.0
        np.testing.assert_allclose(users[user], mean / length, rtol=1e-4, atol=1e-6)
    expected = 1 if score == "cosine" else np.linalg.norm(table[1:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(items[1:], axis=1), expected, rtol=1e-5)
    assert not users[0].any() and not items[0].any()


def test_item2vec_reads_the_lists_in_the_files_order(tiny_path, tmp_path):
    skip_without("gensim")
    model, _, data = built("Item2Vec", tiny_path, tmp_path)
    users, items = (data.train._dataset.inter_feat[f].tolist() for f in ("user_id", "item_id"))
    expected = [str(item) for user, item in zip(users, items, strict=True) if user == 1]
    assert next(iter(model.sentences)) == expected


def test_context_score_keeps_the_items_output_vectors(tiny_path, tmp_path):
    common = {"n_walks": 2, "walk_length": 10}
    by_score = {}
    for score in ("dot", "context"):
        model, _ = fitted("Node2Vec", tiny_path, tmp_path / score, score=score, **common)
        by_score[score] = model.vectors()
    torch.testing.assert_close(by_score["dot"][0], by_score["context"][0])
    assert not torch.equal(by_score["dot"][1], by_score["context"][1])


def test_vectors_of_the_unseen_are_zero_and_seeds_repeat(tiny_path, tmp_path):
    common = {"n_walks": 1, "walk_length": 10}
    first, _ = fitted("DeepWalk", tiny_path, tmp_path / "a", **common)
    again, _ = fitted("DeepWalk", tiny_path, tmp_path / "b", **common)
    other, _ = fitted("DeepWalk", tiny_path, tmp_path / "c", seed=7, **common)
    for one, same, unlike in zip(first.vectors(), again.vectors(), other.vectors(), strict=True):
        assert not one[0].any()
        assert torch.equal(one, same) and not torch.equal(one, unlike)


def test_loaded_weights_are_not_fitted_again(tiny_path, tmp_path, monkeypatch):
    first, _ = fitted("DeepWalk", tiny_path, tmp_path / "a", n_walks=1)
    second, _, _ = built("DeepWalk", tiny_path, tmp_path / "b", n_walks=1)
    second.load_state_dict(first.state_dict())
    monkeypatch.setattr(second, "fit", lambda rng: pytest.fail("fitted again"))
    second.fit_once()
    assert torch.equal(first.vectors()[1], second.vectors()[1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("score", "angle"),
        ("window", 0),
        ("skip_gram_passes", 0),
        ("skip_gram_negatives", -1),
        ("workers", 1.5),
    ],
)
def test_bad_settings_are_named(tiny_path, tmp_path, key, value):
    with pytest.raises(ValueError, match=f"{key} must be .* got {value!r}"):
        built("DeepWalk", tiny_path, tmp_path, **{key: value})


@pytest.mark.parametrize(
    ("name", "negatives", "power"),
    [("DeepWalk", 0, 0.75), ("Node2Vec", 5, 0.75), ("Item2Vec", 7, 0.0)],
)
def test_settings_reach_gensim(tiny_path, tmp_path, monkeypatch, name, negatives, power):
    seen = {}

    class Word2Vec:
        def __init__(self, **settings):
            seen.update(settings)

        def build_vocab_from_freq(self, counts):
            pass

        def train(self, sentences, epochs, **others):
            seen["epochs"] = epochs
            raise InterruptedError

    library = SimpleNamespace(Word2Vec=Word2Vec)
    monkeypatch.setattr(skip_gram, "require", lambda *of: library)
    changes = {"embedding_size": 12, "window": 3, "workers": 2, "seed": 11, "score": "dot"}
    changes |= {"skip_gram_negatives": negatives, "negative_power": power}
    changes |= {"skip_gram_passes": 4, "skip_gram_learning_rate": 0.3}
    model, _, _ = built(name, tiny_path, tmp_path, **changes)
    with pytest.raises(InterruptedError):
        model.fit_once()
    assert seen == {
        "sg": 1,
        "hs": int(negatives == 0),
        "negative": negatives,
        "ns_exponent": power,
        "window": 3,
        "shrink_windows": name != "Item2Vec",
        "sample": 0,
        "min_count": 1,
        "vector_size": 12,
        "alpha": 0.3,
        "epochs": 4,
        "workers": 2,
        "seed": 11,
    }


def test_context_score_needs_negatives(tiny_path, tmp_path):
    with pytest.raises(ValueError, match="skip_gram_negatives >= 1, got 0"):
        built("DeepWalk", tiny_path, tmp_path, score="context", skip_gram_negatives=0)


def test_missing_gensim_names_the_extra(tiny_path, tmp_path, monkeypatch):
    def missing(module):
        raise ImportError(f"No module named {module!r}")

    model, _, _ = built("Item2Vec", tiny_path, tmp_path)
    monkeypatch.setattr(optional.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"Item2Vec needs gensim.*\[baselines\]"):
        model.fit_once()


# -- as a backbone ----------------------------------------------------------------------------


def run_hill(path, folder, backbone, **changes):
    settings = tiny_settings(
        path, "HILL", backbone=backbone, checkpoint_dir=str(folder), adapt_control=["continue"]
    )
    del settings["ssl_warmup_epochs"]  # NESCL's
    return run("HILL", "tiny", overrides={**settings, **changes})


def test_hill_fits_deepwalk_and_fine_tunes_it(tiny_path, tmp_path):
    skip_without("gensim")
    size = {"n_walks": 2, "embedding_size": 16}
    alone, _ = fitted("DeepWalk", tiny_path, tmp_path / "alone", **size)
    result = run_hill(tiny_path, tmp_path, "DeepWalk", **size)
    after_fit, indexed, tuned = (
        load_weights(result.folder / f"{stage}.safetensors")
        for stage in ("backbone", "indexed", "adapt_continue")
    )
    for name, value in alone.state_dict().items():
        assert torch.equal(after_fit[f"backbone.{name}"], value)
    table = "backbone.item_embedding.weight"
    assert not torch.equal(after_fit[table], indexed[table])  # the M-step trained it further
    assert not torch.equal(indexed[table], tuned[table])
    assert result.rows[-1]["arm"] == "HILL"


SMALL = {"nodes_per_depth": [12, 4], "topk": [5], "valid_metric": "NDCG@5"}


@pytest.mark.parametrize(("backbone", "fits"), [("NESCL", False), ("Item2Vec", True)])
def test_hill_has_a_fit_only_where_its_backbone_has_one(tiny_path, tmp_path, backbone, fits):
    settings = {"backbone": backbone, "data_path": str(tiny_path), "run_dir": str(tmp_path)}
    config = HillConfig("HILL", "tiny", None, {**settings, **SMALL})
    hill = build_model(config, load_data(config))
    assert hasattr(hill, "fit_once") == fits


def test_hill_wraps_line(tiny_path, tmp_path):
    result = run_hill(tiny_path, tmp_path, "LINE")
    assert result.rows[-1]["arm"] == "HILL"
