"""Index nodes as virtual items: the data, the graph, the copied weights, and runs in every form."""

import numpy as np
import pytest
import torch
from conftest import tiny_settings
from numpy.testing import assert_allclose
from scipy import sparse as sp

from recbole_hill.adapt.forms import training_of
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.adapt.selection import select_pairs
from recbole_hill.adapt.virtual_items import VirtualItems
from recbole_hill.config.config import HillConfig
from recbole_hill.data.graph import InteractionGraph
from recbole_hill.data.loaders import train_loader
from recbole_hill.data.splits import load_data
from recbole_hill.data.virtual_items import GraphWithVirtualItems, with_virtual_items
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.node_vectors import NodeVectors
from recbole_hill.model.build import build_model
from recbole_hill.model.bundle import Bundle
from recbole_hill.model.finished import FinishedRun
from recbole_hill.model.hill import FIXED
from recbole_hill.model.settings import UNTRAINED
from recbole_hill.pipeline import run
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import read_config
from recbole_hill.train.index_stage import learn_index
from recbole_hill.train.trainer import RunTrainer, trainer_for

FORMS = ("rows", "vertices", "vertices+rows")


def test_the_graph_keeps_the_weights_of_other_edges_by_hand():
    # Users 0, 1; items 0, 1; virtual item 2 with both users.
    matrix = sp.csr_matrix(np.array([[1, 1, 1], [0, 1, 1]]))
    graph = GraphWithVirtualItems(matrix, 1, keep_weights=True)
    dense = graph.normalized().to_dense().numpy()
    real = 1 / np.sqrt(np.outer([2, 1], [1, 2])) * [[1, 1], [0, 1]]
    virtual = 1 / np.sqrt(np.array([3, 2]) * 2)
    assert_allclose(dense[:2, 2:], np.column_stack((real, virtual)), rtol=1e-6)
    assert_allclose(dense, dense.T)
    other = graph.normalized(1, -2).to_dense()
    expected = [[1**2 / 2, 2**2 / 2, 2**2 / 3], [0, 2**2 / 1, 2**2 / 2]]
    assert_allclose(other[:2, 2:], expected, rtol=1e-6)


def test_a_virtual_item_has_edges_to_its_members_by_hand():
    # Users 0, 1; items 0, 1; virtual item 2 with user 0 and with the items 0 and 1.
    matrix = sp.csr_matrix(np.array([[1, 0, 1], [1, 1, 0]]))
    members = sp.csr_matrix(np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]]))
    linked = np.zeros((5, 5))
    for v, w in ((0, 2), (1, 2), (1, 3), (0, 4), (2, 4), (3, 4)):
        linked[v, w] = linked[w, v] = 1
    degree = linked.sum(1)
    assert_allclose(degree, [2, 2, 3, 2, 3])
    expected = linked / np.sqrt(np.outer(degree, degree))
    free = GraphWithVirtualItems(matrix, 1, keep_weights=False, members=members)
    assert_allclose(free.normalized().to_dense(), expected, rtol=1e-6)
    kept = GraphWithVirtualItems(matrix, 1, keep_weights=True, members=members)
    expected[:2, 2:4] = [
        [1 / np.sqrt(2), 0],
        [1 / 2, 1 / np.sqrt(2)],
    ]  # of users and real items alone
    expected[2:4, :2] = expected[:2, 2:4].T
    assert_allclose(kept.normalized().to_dense(), expected, rtol=1e-6)


@pytest.mark.parametrize("view", ["drop_nodes", "drop_edges", "dropout"])
def test_a_thinned_graph_with_members_is_symmetric(view):
    generator = np.random.default_rng(0)
    matrix = sp.csr_matrix(generator.random((20, 30)) < 0.3)
    upper = np.triu(generator.random((30, 30)) < 0.2, 1)
    graph = GraphWithVirtualItems(matrix, 3, keep_weights=True, members=sp.csr_matrix(upper))
    assert graph.n_edges == matrix.nnz + upper.sum()
    thinned = getattr(graph, view)(0.4).to_dense()
    torch.testing.assert_close(thinned, thinned.T)
    kept = (thinned != 0).sum().item() / 2 / graph.n_edges
    assert 0.2 < kept < 0.8
    back = graph.reverse()
    assert (graph.row[back] == graph.col).all() and (graph.col[back] == graph.row).all()


def test_a_thinned_graph_weighs_by_its_own_degrees(monkeypatch):
    matrix = sp.csr_matrix(np.array([[1, 1, 1], [0, 1, 1]]))
    graph = GraphWithVirtualItems(matrix, 1, keep_weights=True)
    draws = torch.tensor([0.9, 0.9, 0.9, 0.1, 0.9])  # item 1 is dropped
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    thinned = graph.drop_nodes(0.5).to_dense().numpy()
    virtual = 1 / np.sqrt(np.array([2, 1]) * 2)
    assert_allclose(thinned[:2, 2:], [[1, 0, virtual[0]], [0, 0, virtual[1]]], rtol=1e-6)


@pytest.fixture
def made(tiny_path, tmp_path):
    """Returns a function that builds a model on `tiny`, an index over it, and some pairs."""

    def make(model, **changes):
        settings = tiny_settings(tiny_path, model, run_dir=str(tmp_path / "run"), **changes)
        config = HillConfig(model, "tiny", None, settings)
        data = load_data(config)
        backbone = build_model(config, data)
        n_items = data.dataset.item_num - 1
        parents = (np.arange(n_items) // 4, np.arange(-(-n_items // 4)) // 3)
        vectors = backbone.user_item_embeddings()[1][1:].detach().numpy()
        index = HierarchicalIndex.build([str(i) for i in range(n_items)], parents, vectors)
        depths = np.array([1, 1, 2])
        pairs = Pairs(np.array([1, 2, 3]), np.array([0, 5, 1]), depths, np.ones(3), phi_dep=2)
        return config, data, backbone, index, pairs

    return make


def copied(made_of, **changes) -> VirtualItems:
    config, data, backbone, index, pairs = made_of
    form = {"rows": True, "edges": True, "members": False, "keep_normalisation": True}
    form |= {"node_vectors": "members", **changes}
    return VirtualItems(backbone, config, data.train._dataset, pairs, NodeVectors(index), **form)


def test_a_train_set_with_virtual_items(made):
    config, data, *_ = made("BPR")
    train = data.train._dataset
    extended = with_virtual_items(train, 2, np.array([1, 4]), train.item_num + np.array([1, 0]))
    assert (extended.item_num, extended.user_num) == (train.item_num + 2, train.user_num)
    before, after = train.inter_matrix(form="csr"), extended.inter_matrix(form="csr")
    assert (after[:, : train.item_num] != before).nnz == 0
    assert sorted(zip(*after[:, train.item_num :].nonzero(), strict=True)) == [(1, 1), (4, 0)]
    assert len(train) == len(extended) - 2 and train.item_num == before.shape[1]
    rows = [batch for batch in train_loader(config, extended)]
    assert sum(map(len, rows)) == len(extended)


@pytest.mark.parametrize("model", ["BPR", "NESCL", "LightGCN-BSL", "MF-SSM"])
def test_rows_of_virtual_items_start_at_the_mean_of_their_members(made, model):
    config, data, backbone, index, pairs = made(model)
    edges = hasattr(backbone, "graph")
    copy = copied((config, data, backbone, index, pairs), edges=edges)
    old, new = backbone.item_embedding.weight, copy.backbone.item_embedding.weight
    assert torch.equal(new[: len(old)], old)
    assert torch.equal(copy.backbone.user_embedding.weight, backbone.user_embedding.weight)
    finest = torch.stack([old[1:][4 * n : 4 * n + 4].mean(0) for n in range(12)])
    coarsest = torch.stack([old[1:][12 * n : 12 * n + 12].mean(0) for n in range(4)])
    torch.testing.assert_close(new[len(old) :], torch.cat((finest, coarsest)))
    users, items = copy.user_item_embeddings()
    assert (len(users), len(items)) == (data.dataset.user_num, data.dataset.item_num)


def test_without_edges_a_copy_has_the_backbones_vectors(made):
    parts = made("LightGCN-BSL")
    for theirs, ours in zip(
        parts[2].user_item_embeddings(),
        copied(parts, edges=False).user_item_embeddings(),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    with_edges = copied(parts).user_item_embeddings()[0]
    moved = (with_edges - parts[2].user_item_embeddings()[0]).abs().sum(1) > 1e-6
    assert moved[[1, 2, 3]].all()


def test_pairs_are_edges_and_positives_where_the_form_says_so(made):
    parts = made("LightGCN-BSL")
    first = parts[1].dataset.item_num
    users, items = torch.tensor([1, 2, 3]), first + torch.tensor([0, 5, 13])
    for rows, edges in ((True, False), (False, True), (True, True)):
        copy = copied(parts, rows=rows, edges=edges)
        assert copy.backbone.sampler.has(users, items).tolist() == [rows] * 3
        graph = copy.backbone.graph.normalized().to_dense()
        assert (graph[users, items + parts[1].dataset.user_num] > 0).tolist() == [edges] * 3
        assert len(copy.data) == len(parts[1].train._dataset) + 3 * rows


@pytest.mark.parametrize("model", ["LightGCN-BSL", "NESCL"])
@pytest.mark.parametrize("keep", [False, True])
def test_nodes_have_edges_to_their_members_where_they_are_asked_for(made, model, keep):
    parts = made(model)
    data, n_users, n_items = parts[1], parts[1].dataset.user_num, parts[1].dataset.item_num
    copy = copied(parts, members=True, keep_normalisation=keep)
    linked = copy.backbone.graph.normalized().to_dense()[n_users:, n_users:] > 0
    n_fine = -(-(n_items - 1) // 4)
    expected = torch.zeros_like(linked)
    for item in range(1, n_items):
        expected[item, n_items + (item - 1) // 4] = True
        expected[item, n_items + n_fine + (item - 1) // 12] = True
    assert torch.equal(linked, expected | expected.T)
    batch = next(iter(train_loader(parts[0], copy.data)))
    loss = copy.calculate_loss(batch)
    loss.backward()
    assert torch.isfinite(loss) and copy.backbone.item_embedding.weight.grad[n_items:].any()
    assert [len(part) for part in copy.user_item_embeddings()] == [n_users, n_items]
    assert data.dataset.item_num == n_items


TRAINED = ["BPR", "MF-SSM", "LightGCN-SSM", "SpectralSSM", "SimpleX", "UltraGCN", "SGL-ED", "BUIR"]
TRAINED += ["CML", "MF-CCL", "ENMF", "GTN", "DGCF", "NIA-GCN", "LT-OCF", "DeosGCF", "IMP-GCN"]
TRAINED += ["LightGCN++", "EGCF"]


@pytest.mark.parametrize("model", TRAINED)
@pytest.mark.parametrize("form", FORMS)
def test_backbones_of_all_kinds_learn_from_virtual_items_or_are_refused(made, model, form):
    parts = made(model)
    rows, edges = "rows" in form, "vertices" in form
    if edges and not isinstance(getattr(parts[2], "graph", None), InteractionGraph):
        pytest.skip("the model has no graph of users and items")
    try:
        copy = copied(parts, rows=rows, edges=edges)
    except ValueError as refused:
        assert "accepted are backbones whose tables have a row per item" in str(refused)
        return
    copy.begin_epoch(0)
    for batch in train_loader(parts[0], copy.data):
        loss = copy.calculate_loss(batch)
        assert torch.isfinite(sum(loss) if isinstance(loss, tuple) else loss).all()


def test_popularity_counts_rows_and_not_edges(made):
    parts = made("LightGCN-SSM", rivals="corrected")
    n_items, plain = parts[1].dataset.item_num, parts[2].popularity
    for rows, edges in ((True, False), (False, True), (True, True)):
        copy = copied(parts, rows=rows, edges=edges)
        found = copy.backbone.popularity
        paired = torch.tensor([0, 5, 13])  # the nodes with a pair, of one user each
        assert (found[n_items:] > 0).nonzero().squeeze(1).tolist() == (paired.tolist() * rows)
        torch.testing.assert_close(found[:n_items] / found[1:n_items].max(), plain / plain.max())
        for batch in train_loader(parts[0], copy.data):
            assert torch.isfinite(copy.calculate_loss(batch))


def test_frozen_rows_have_no_gradient(made):
    parts = made("MF-SSM")
    for kind in ("members", "frozen"):
        copy = copied(parts, edges=False, node_vectors=kind)
        users, items = copy.backbone.user_item_embeddings()
        (users.sum() + items.square().sum()).backward()
        gradient = copy.backbone.item_embedding.weight.grad
        n_items = parts[1].dataset.item_num
        assert gradient[:n_items].any() and bool(gradient[n_items:].any()) == (kind == "members")


@pytest.fixture(scope="module")
def runs(tiny_path, tmp_path_factory):
    """Finished runs of every form, by form."""
    root = tmp_path_factory.mktemp("forms")
    changes = {
        "backbone": "LightGCN-BSL",
        "adapt_control": ["continue", "random_nodes", "random_users"],
        "ttt_learning_rate": 0.02,
        "interest_thresholds": [0.3, 0.3],
        "ttt_epochs": 2,
    }
    results = {}
    for form in FORMS:
        controls = [*changes["adapt_control"], *(UNTRAINED if "vertices" in form else [])]
        own = {**changes, "adapt_control": controls, "pair_form": form}
        settings = tiny_settings(tiny_path, "HILL", run_dir=str(root / form), **own)
        del settings["ssl_warmup_epochs"]  # NESCL's
        results[form] = run("HILL", "tiny", overrides=settings)
    return results


@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_its_arms_from_the_same_weights(runs, form):
    result = runs[form]
    start = load_weights(result.folder / "indexed.safetensors")
    metrics = {row["arm"]: row["metrics"] for row in result.rows}
    for arm in ("pairs", "random_nodes", "random_users"):
        weights = load_weights(result.folder / f"adapt_{arm}.safetensors")
        assert set(weights) - set(start) == set(FIXED)
        assert all(torch.equal(weights[name], start[name]) for name in start)
        users, items = (weights[name] for name in FIXED)
        assert users.isfinite().all() and items.isfinite().all()
    assert not set(FIXED) & set(load_weights(result.folder / "adapt_continue.safetensors"))
    assert metrics["pairs"] != metrics["random_nodes"]
    if "vertices" in form:
        for arm in UNTRAINED:
            assert result.stages[f"adapt_{arm}"]["epochs"] == 0
            assert result.stages[f"adapt_{arm}"]["valid_score"] > 0
            assert metrics[arm] != metrics["backbone"]
        assert metrics["untrained"] != metrics["untrained_random"]


def test_all_arms_take_as_many_steps(runs):
    for form, result in runs.items():
        config = HillConfig(None, None, None, {**read_config(result.folder), "threads": 1})
        config["run_dir"], config["train_batch_size"] = str(result.folder), 32
        data = load_data(config)
        trainer = trainer_for(config, build_model(config, data))
        index = learn_index(trainer, data.train)  # the stage is done: it is loaded
        pairs = select_pairs(trainer, index, data.train)
        rows = {}
        for arm in ("continue", "pairs"):
            with training_of(trainer, arm, pairs, data.train) as training:
                rows[arm] = sum(len(batch) for batch in training.data)
        more = len(pairs) if "rows" in form else 0
        assert more < len(pairs) or len(pairs) > 32
        assert rows["continue"] == rows["pairs"] == len(data.train._dataset) + more


def test_fixed_vectors_serve_in_place_of_the_backbones(runs):
    folder = runs["vertices+rows"].folder
    model = FinishedRun.load(folder).model
    weights = load_weights(folder / "adapt_pairs.safetensors")
    set_model_weights(model, weights)
    assert all(map(torch.equal, model.user_item_embeddings(), (weights[name] for name in FIXED)))
    set_model_weights(model, load_weights(folder / "indexed.safetensors"))
    for mine, theirs in zip(
        model.user_item_embeddings(), model.backbone.user_item_embeddings(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_a_run_serves_the_weights_that_it_kept(runs):
    for result in runs.values():
        kept = load_weights(result.folder / "adapted.safetensors")
        adapted = result.stages["HILL"]["kept"] == "adapted"
        assert adapted == (FIXED[0] in kept)
        served = FinishedRun.load(result.folder).bundle()
        bundle = Bundle.load(result.folder)
        assert_allclose(served.user_vectors, bundle.user_vectors, atol=1e-6)
        if adapted:
            assert_allclose(bundle.item_vectors, kept["fixed_items"][1:], atol=1e-6)
    assert any(result.stages["HILL"]["kept"] == "adapted" for result in runs.values())


def test_a_resumed_run_of_virtual_items_ends_alike(tiny_path, tmp_path, runs, monkeypatch):
    whole = runs["vertices+rows"]
    settings = {key: value for key, value in whole.rows[0]["settings"].items()}
    settings |= {"run_dir": str(tmp_path / "again")}
    ended = RunTrainer._end_epoch

    def killed(self, *args, **kwargs):
        ended(self, *args, **kwargs)
        if self._stage == "adapt_pairs" and self._epochs_done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunTrainer, "_end_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run("HILL", "tiny", overrides=settings)
    result = run(resume=str(tmp_path / "again"))
    for arm, row in zip(whole.rows, result.rows, strict=True):
        assert arm["metrics"] == row["metrics"], arm["arm"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "BPR", "pair_form": "vertices"}, "pair_form vertices needs a backbone with"),
        ({"backbone": "SpectralMF", "pair_form": "rows"}, "pair_form rows needs a backbone that"),
        (
            {"interest_source": "beam"},
            "interest_source beam needs retrieval beam: the search exact",
        ),
        ({"vertices": "users+items"}, "vertices users.items is of pairs as edges"),
        (
            {"backbone": "MGDCF", "pair_form": "vertices", "vertices": "users+items"},
            "vertices users.items needs a backbone whose graph may have edges between items",
        ),
        ({"adapt_control": ["untrained"]}, "adapt_control untrained is of pairs as edges"),
        (
            {"pair_loss": "backbone", "pair_negatives": "sibling"},
            "pair_loss backbone takes pair_negatives random alone, got sibling",
        ),
    ],
)
def test_forms_that_do_not_fit_are_refused(tiny_path, tmp_path, changes, message):
    settings = tiny_settings(tiny_path, "HILL", run_dir=str(tmp_path / "run"), **changes)
    if "backbone" in changes:
        del settings["ssl_warmup_epochs"]  # NESCL's
    with pytest.raises(ValueError, match=message):
        run("HILL", "tiny", overrides=settings)
