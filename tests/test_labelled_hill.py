"""HILL over a model of labelled impressions: rows of nodes by hand, and whole runs."""

import impressions
import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_hill import registry
from recbole_hill.adapt.draws import PairDraws
from recbole_hill.adapt.finetune import TestTimeTraining
from recbole_hill.adapt.pair_rows import PairRows
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.adapt.selection import select_pairs, train_history
from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import internal_defaults
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import load_data
from recbole_hill.data.tasks import tasks_of
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled.hill import LabelledHILL
from recbole_hill.labelled.monn import MoNN
from recbole_hill.model.build import build_model
from recbole_hill.model.hill import HILL
from recbole_hill.model.indexed import EM_WEIGHT
from recbole_hill.pipeline import LabelledHILLTrainer, build, run
from recbole_hill.registry import ModelEntry
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.serve.open_run import open_run
from recbole_hill.train.trainer import RunTrainer

BACKBONES = ("TTSN", "MoNN")
#: What makes a run small.
SMALL = {
    "nodes_per_depth": [12, 4],
    "beam_width": 2,
    "interest_thresholds": [0.2, 0.2],
    "ttt_epochs": 1,
    "adapt_control": ["random_nodes"],
    "epochs": 1,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("log"))


def settings(path, backbone, **changes) -> dict:
    return impressions.settings(path, backbone=backbone, **{**SMALL, **changes})


def made(path, backbone, **changes):
    """Returns a model with a tree in which node n of depth 1 has the items n, n + 12, ..."""
    config = HillConfig("HILL", "log", None, settings(path, backbone, **changes))
    data = load_data(config)
    model = build_model(config, data).eval()
    tokens = Ids.of(data.dataset).items
    parents = [np.arange(len(tokens)) % 12, np.arange(12) % 4]
    items = model.vectors()[1][1:].numpy()
    model.set_index(HierarchicalIndex.build(tokens, parents, items))
    return model, data


def expected_logits(model, users, items, vectors, context, left_out) -> torch.Tensor:
    """The four modules, with given vectors in the place of the item tower's output."""
    block = model.backbone.block
    of_users = block.user(users, left_out)
    if block.size.is_dot_product:
        dots = (of_users.flatten(1) * vectors).sum(1, keepdim=True) / vectors.shape[1] ** 0.5
        return dots * block.scale + block.bias
    of_items = vectors.view(len(items), block.size.item.embeddings, block.size.item.dim)
    return block.judge(users, items, of_users, of_items, context, left_out)[0]


# -- rows of nodes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["members", "representative", "frozen"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_pair_is_a_row_whose_first_label_is_1(path, backbone, kind):
    model, _ = made(path, backbone, node_vectors=kind)
    users, nodes = torch.tensor([3, 3, 9]), torch.tensor([2, 0, 2])
    items = model.backbone.block.item(torch.arange(49)).flatten(1)
    with torch.no_grad():
        model.nodes.frozen_2 += 1  # the index's own vectors, unlike those of today
    members = torch.arange(1, 49)[torch.arange(48) % 4 == 2], torch.arange(1, 49, 4)
    means = [items[of_node].mean(0) for of_node in members]
    nearest = [
        of_node[(items[of_node] - mean).square().sum(1).argmin()]
        for of_node, mean in zip(members, means, strict=True)
    ]
    representatives = torch.stack([nearest[0], nearest[1], nearest[0]])
    vectors = {
        "members": torch.stack([means[0], means[1], means[0]]),
        "representative": items[representatives],
        "frozen": torch.stack([means[0], means[1], means[0]]) + 1,
    }[kind]
    context = model.data.context_of({}, 3)
    logits = expected_logits(model, users, representatives, vectors, context, representatives)
    expected = -logits[:, 0].sigmoid().log()
    found = model.loss_of_pairs(users, nodes, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if kind == "representative":  # nothing else than a row of this item
        row = model.pair_logits(users, representatives, context, representatives)[:, 0]
        torch.testing.assert_close(found, -row.sigmoid().log())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_test_time_training_adds_the_mean_of_the_pairs_rows(path, backbone):
    model, data = made(path, backbone)
    batch = next(iter(data.train))
    numbers = np.array([5, 5, 8]), np.array([1, 1, 1]), np.array([2, 2, 2]), np.ones(3)
    same = Pairs(*(array[:2] for array in numbers), phi_dep=2)  # whichever is drawn
    rows = PairRows(same, 1)
    of_pair = model.loss_of_pairs(torch.tensor([5]), torch.tensor([1]), 2)
    expected = model.backbone.calculate_loss(batch) + 0.3 * of_pair[0]
    torch.testing.assert_close(TestTimeTraining(model, rows, 0.3).loss(batch), expected)
    as_rows = TestTimeTraining(model, rows, 1.0, by_interaction=True).loss(batch)
    expected = model.backbone.calculate_loss(batch) + 2 / len(batch) * of_pair[0]
    torch.testing.assert_close(as_rows, expected)
    draws = PairDraws(Pairs(*numbers, phi_dep=2), steps=2)
    assert draws.pairs_a_step == 2
    ((depth, users, nodes, weights),) = draws.draw("cpu")
    assert depth == 2 and set(users.tolist()) <= {5, 8} and nodes.tolist() == weights.tolist()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_m_step_repeats_the_rows_with_the_nodes_above(path, backbone):
    model, data = made(path, backbone)
    batch = next(iter(data.train))[:7]
    users, items = batch["user_id"], batch["item_id"]
    context = model.data.context_of(batch, 7)
    labels = torch.stack([batch["click"], batch["buy"]], 1)
    towers = model.backbone.block.item(torch.arange(49)).flatten(1)
    of_nodes = []
    for n_nodes, depth in ((12, 1), (4, 2)):
        node = (items - 1) % n_nodes
        means = torch.stack([towers[1:][torch.arange(48) % n_nodes == n].mean(0) for n in node])
        rows = torch.from_numpy(model.index.representatives[depth - 1].copy())[node] + 1
        logits = expected_logits(model, users, rows, means, context, items)
        each = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        of_nodes.append((each @ torch.tensor([1.0, 0.5])).mean())  # the tasks' weights
    expected = model.backbone.calculate_loss(batch) + EM_WEIGHT * sum(of_nodes) / 2
    torch.testing.assert_close(model.em_loss(batch), expected)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pseudo_items_take_the_items_place(path, backbone):
    """Nodes that learn alone do so from fixed vectors, and the backbone's weights rest."""
    model, data = made(path, backbone, index_learning="joint", index_warmup_epochs=0)
    learner = model.learner.eval()
    learner.set_schedule(10)
    learner.begin_epoch(model.vectors()[1][1:])
    batch = next(iter(data.train))
    users, items = batch["user_id"], batch["item_id"]
    context, labels = model.data.context_of(batch, len(users)), [batch["click"], batch["buy"]]
    present, place = torch.unique(items, return_inverse=True)
    learnt, losses = learner(model.backbone.item_embeddings(present)), []
    for pseudo in learnt.at_depth:
        logits = expected_logits(model, users, items, pseudo[place], context, items)
        each = [
            binary_cross_entropy_with_logits(logits[:, t], labels[t]) * weight
            for t, weight in enumerate((1.0, 0.5))
        ]
        losses.append(sum(each))
    expected = 0.1 * (sum(losses) / 2 + learnt.reconstruction + 0.05 * learnt.balance)
    together = model.calculate_loss(batch) - model.backbone.calculate_loss(batch)
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-4)
    alone = model.index_loss(*model.vectors(), batch)
    torch.testing.assert_close(alone, expected, rtol=1e-3, atol=1e-4)
    alone.backward()
    assert all(node.grad.any() for node in learner.nodes)
    assert not any(weight.grad is not None for weight in model.backbone.parameters())
    assert all(weight.requires_grad for weight in model.backbone.parameters())


def test_only_items_that_a_user_liked_are_interests(path):
    _, data = made(path, "TTSN")
    rows = data.train._dataset.inter_feat
    config = HillConfig("HILL", "log", None, settings(path, "TTSN"))
    shown = train_history(data.train._dataset)
    liked = train_history(data.train._dataset, tasks_of(config))
    assert shown.nnz == len(rows) > liked.nnz == int(rows["click"].sum())
    users, items, clicks = (np.array(rows[name]) for name in ("user_id", "item_id", "click"))
    np.testing.assert_array_equal(np.asarray(liked[users, items - 1]).ravel(), clicks)


# -- search ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_beam_of_all_nodes_is_the_exact_search(path, backbone):
    model, _ = made(path, backbone, beam_width=[12, 4])
    users, seen = torch.arange(1, 61), (torch.tensor([0, 0, 7]), torch.tensor([3, 4, 5]))
    exact, full = (model.search_by(name).search(users, 9, seen) for name in ("exact", "beam"))
    torch.testing.assert_close(full[0] - full[0][:, :1], exact[0] - exact[0][:, :1])
    assert torch.equal(full[1], exact[1]) and not {3, 4} & set(full[1][0].tolist())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_narrow_beam_keeps_the_best_nodes(path, backbone):
    model, _ = made(path, backbone, beam_width=[3, 2])
    users = torch.arange(1, 5)
    search = model.search_by("beam")
    fine, coarse = search.kept_nodes(users)
    nodes, vectors = model._rows_of(torch.arange(4), 2)
    for row, user in enumerate(users):
        many = user.repeat(4)
        context = model.data.context_of({}, 4)
        logits = expected_logits(model, many, nodes, vectors, context, None)[:, 0]
        assert set(coarse[row].tolist()) == set(logits.topk(2).indices.tolist())
    assert fine.shape == (4, 3)
    assert all(node % 4 in kept for node, kept in zip(fine[0], [coarse[0]] * 3, strict=True))
    _, listed = search.search(users, 5)
    for row in range(4):
        assert {(item - 1) % 12 for item in listed[row].tolist()} <= set(fine[row].tolist())


# -- settings --------------------------------------------------------------------------------------


def test_the_pairs_follow_the_loss_of_a_backbone_of_labels(path):
    config = HillConfig("HILL", "log", None, impressions.settings(path, backbone="TTSN"))
    assert config["pair_loss"] == "backbone" and config["valid_metric"] == "NE"
    assert (config["pair_weight"], config["ttt_weight"]) == ("interaction", 1.0)
    assert config["adapt_control"] == ["continue", "random_nodes", "random_users"]
    assert config.model_class is LabelledHILL
    assert internal_defaults("HILL", "log", backbone="BPR")["pair_loss"] == "bpr"


def test_a_plugins_labelled_model_is_a_backbone_too():
    class Mine(MoNN):
        pass

    registry.add(ModelEntry("Mine", Mine, "own", "nobody"))
    assert registry.class_over("HILL", "Mine") is LabelledHILL
    assert registry.class_over("HILL", "BPR") is HILL and registry.class_over("MoNN", None) is MoNN
    assert registry.trainer_of(LabelledHILL) is LabelledHILLTrainer


@pytest.mark.parametrize(
    ("backbone", "changes", "message"),
    [
        ("TTSN", {"pair_form": "rows"}, "pair_form rows does not fit .* accepted is loss"),
        ("TTSN", {"pair_loss": "bpr"}, "pair_loss bpr does not fit .*; accepted is backbone"),
        ("MoNN", {"adapt_control": ["average"]}, "adapt_control average does not fit"),
        ("MoNN", {"retrieval": "faiss"}, "faiss .* no inner products; accepted is exact, beam"),
        ("MoNN", {"index_metric": "scores"}, "index_metric scores .* accepted is items"),
        ("MoNN", {"node_score": "best"}, "the network itself scores the nodes; accepted is mean"),
        ("EBR", {}, "EBR has an index of its own; .* HILL accepts TTSN and MoNN"),
        ("HSNN", {}, "HSNN has an index of its own"),
    ],
)
def test_what_does_not_compose_is_refused_before_loading(backbone, changes, message):
    with pytest.raises(ValueError, match=message):
        HillConfig("HILL", "no-such-log", None, {"backbone": backbone, **changes})


# -- runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(path, tmp_path_factory):
    """A finished run over each backbone, by EM; MoNN's is taken over from its own run."""
    root, found = tmp_path_factory.mktemp("runs"), {}
    parent = {key: value for key, value in settings(path, "MoNN").items() if key not in SMALL}
    parent = {**parent, "epochs": 2, "run_dir": str(root / "parent")}
    del parent["backbone"]
    run("MoNN", "log", overrides=parent)
    for backbone in BACKBONES:
        changes = {"run_dir": str(root / backbone), "retrieval": "beam"}
        if backbone == "MoNN":
            changes["backbone_from"] = parent["run_dir"]
        found[backbone] = run("HILL", "log", overrides=settings(path, backbone, **changes))
    return found


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_arm_has_the_errors_of_its_tasks_and_the_recall_of_its_lists(finished, backbone):
    rows = finished[backbone].rows
    assert [row["arm"] for row in rows] == [
        *("backbone", "backbone + EM", "random_nodes", "pairs", "HILL")
    ]
    for row in rows:
        assert {"ne", "ne_buy", "auc", "calibration", "recall@5", "ndcg@3"} <= set(row["metrics"])
        assert 0 < row["metrics"]["ne"] < 1.5
        assert ("serving" in row) == (row["arm"] == "HILL")
    ne = [row["metrics"]["ne"] for row in rows]
    assert len({*ne[:4]}) == 4  # each arm has weights of its own
    cost = rows[-1]["serving"]
    assert 0 < cost["index_recall@5"] < 1 and cost["flops"] < cost["user_flops"] + 60 * sum(
        cost["pair_flops"][-1:]
    )
    assert len(cost["pairs"]) == {"TTSN": 1, "MoNN": 3}[backbone]
    assert finished[backbone].stages["pairs"]["per_depth"].keys() == {1, 2}


def test_a_backbone_is_taken_over(finished):
    stage = finished["MoNN"].stages["backbone"]
    assert stage["taken_from"] == "parent"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_recommend_serves_the_run(finished, backbone):
    folder = finished[backbone].folder
    served, loaded = open_run(folder), LoadedRun.load(folder)
    users = ["u3", "u7"]
    rows = torch.from_numpy(loaded.rows_of(users)) + 1
    beam, exact = (loaded.model.search_by(name) for name in ("beam", "exact"))
    for search, options in ((beam, {}), (exact, {"retrieval": "exact"})):
        _, ids = search.search(rows, 4, loaded.seen(rows))
        expected = [loaded.item_tokens[own - 1].tolist() for own in ids.numpy()]
        listed = served.recommend(users, 4, **options)
        assert [[item for item, _ in own] for own in listed] == expected
    if backbone == "TTSN":
        assert "depth 2: 4 nodes" in served.explain("u3", 2)
    else:
        with pytest.raises(ValueError, match="a run of HILL without them"):
            served.explain("u3", 2)


@pytest.mark.parametrize("stage", [pytest.param("em_0", marks=pytest.mark.slow), "adapt_pairs"])
def test_a_killed_run_resumes_to_the_same_bits(path, finished, tmp_path, monkeypatch, stage):
    original, folder = RunTrainer._save_state, tmp_path / "killed"

    def save_then_die(self, at, loader):
        original(self, at, loader)
        if self._stage == stage:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunTrainer, "_save_state", save_then_die)
    changes = {"run_dir": str(folder), "retrieval": "beam"}
    with pytest.raises(KeyboardInterrupt):
        run("HILL", "log", overrides=settings(path, "TTSN", **changes))
    monkeypatch.undo()
    resumed, whole = run(resume=str(folder)), finished["TTSN"]
    assert [row["metrics"] for row in resumed.rows] == [row["metrics"] for row in whole.rows]
    for name in ("indexed", "adapt_pairs", "adapted"):
        one, other = (load_weights(r.folder / f"{name}.safetensors") for r in (resumed, whole))
        assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        ("TTSN", {"index_learning": "joint", "interest_source": "both"}),
        pytest.param(
            *("MoNN", {"index_learning": "joint", "interest_source": "beam", "retrieval": "beam"}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("MoNN", {"index_learning": "separate", "node_vectors": "representative"}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_index_is_learnt_by_gradient(path, tmp_path, backbone, changes):
    changes = {**changes, "run_dir": str(tmp_path / "run"), "adapt_control": []}
    result = run("HILL", "log", overrides=settings(path, backbone, **changes))
    assert [row["arm"] for row in result.rows] == ["backbone", "pairs", "HILL"]
    assert sum(result.stages["pairs"]["per_depth"].values()) > 0
    assert all(1 < used["used"] <= used["nodes"] for used in result.stages["index"]["loads"])


def test_pairs_of_the_beam_are_of_nodes_that_the_network_kept(path, tmp_path):
    changes = {"interest_source": "beam", "retrieval": "beam", "min_children": 1}
    changes |= {"interest_thresholds": [0.01, 0.01], "run_dir": str(tmp_path), "beam_width": [3, 2]}
    config = HillConfig("HILL", "log", None, settings(path, "MoNN", **changes))
    data = load_data(config)
    trainer = build(config, data)
    model, _ = made(path, "MoNN", **changes)
    trainer.model.load_state_dict(model.state_dict())
    trainer.model.set_index(model.index)
    trainer.stages["pairs"] = {}
    pairs = select_pairs(trainer, model.index, data.train)
    fine, _ = model.search_by("beam").kept_nodes(torch.arange(1, 61))
    kept = {(user, node) for user, own in enumerate(fine.tolist(), 1) for node in own}
    coarse = pairs.at_depth(2)
    parents = {(user, node % 4) for user, node in kept}
    found = set(zip(coarse.users.tolist(), coarse.nodes.tolist(), strict=True))
    assert found and found <= parents
