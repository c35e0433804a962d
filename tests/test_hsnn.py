"""HSNN: its layers, its index, and its search against slow references."""

import impressions
import numpy as np
import pytest
import torch

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data, note_data
from recbole_hill.data.tasks import label_matrix
from recbole_hill.labelled.hsnn import layers_of
from recbole_hill.labelled.search import ExhaustiveSearch
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.trainer import trainer_for

TWO = [{"size": "M", "nodes": 6}, {"size": "S"}]
THREE = [{"size": "M", "nodes": 3}, {"size": "S", "nodes": 9}, {"size": "XS"}]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("log"))


def settings(path, **changes):
    small = {"hsnn_layers": TWO, "beam_width": 3, "item_epochs": 1, "epochs": 2}
    return impressions.settings(path, **{**small, **changes})


@pytest.fixture(scope="module")
def three_folder(path, tmp_path_factory):
    """The run of a model of three layers."""
    folder = tmp_path_factory.mktemp("three") / "run"
    run("HSNN", "log", overrides=settings(path, hsnn_layers=THREE, run_dir=str(folder)))
    return folder


@pytest.fixture(scope="module")
def three(three_folder):
    """A trained model of three layers."""
    return LoadedRun.load(three_folder).model


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"size": "S"}], "at least two layers"),
        ([{"size": "S"}, {"size": "XS"}], "layer 1 must have nodes and size"),
        ([{"size": "S", "nodes": 4}, {"size": "XS", "nodes": 9}], "layer 2 must have size"),
        ([{"size": "S", "nodes": 0}, {"size": "XS"}], "must be in 1..48, got 0"),
        ([{"size": "S", "nodes": 99}, {"size": "XS"}], "must be in 1..48, got 99"),
        ([{"size": "Q", "nodes": 4}, {"size": "XS"}], "must be one of XS, S, M, L, XL, got 'Q'"),
        (
            [{"size": "S", "nodes": 9}, {"size": "S", "nodes": 4}, {"size": "XS"}],
            "from coarse to fine, got 4 nodes below 9",
        ),
    ],
)
def test_bad_layers_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        layers_of(given, 1.0, 48)


def test_full_beams_find_what_scoring_everything_finds(three):
    users = torch.arange(1, 61)
    seen = (torch.arange(60), users.remainder(48) + 1)
    exact = ExhaustiveSearch(three).search(users, 10, seen)
    full = three.searcher(full=True).search(users, 10, seen)
    assert torch.equal(full[1], exact[1])
    torch.testing.assert_close(full[0], exact[0], rtol=1e-4, atol=1e-5)
    assert not any(int(i) in row for i, row in zip(seen[1], full[1].tolist(), strict=True))


@pytest.mark.parametrize("widths", [(1, 1), (2, 3), (3, 4)])
@torch.no_grad()
def test_narrow_beams_follow_algorithm_2(three, widths):
    """Node by node and user by user, from the layers' logits and the tree alone."""
    three.settings["beam_width"] = list(widths)
    searcher = three.searcher()
    users = torch.tensor([2, 9, 33, 60])
    found = searcher.search(users, 6)
    index = three.tables().index
    parent_of_node, parent_of_item = index.parents[1], index.parents[0]

    def logits(layer, user, nodes):
        vectors = three.blocks[layer].user(user)
        return three.layer_logits(layer, user, vectors, torch.tensor([nodes]))[0]

    looked_at = [0, 0, 0]

    def descend(user, widths):
        first = list(range(index.nodes_per_depth[1]))
        said = {n: [part] for n, part in zip(first, logits(0, user, first), strict=True)}
        looked_at[0] += len(first)
        for layer, parents in ((1, parent_of_node), (2, parent_of_item)):
            judged = {n: float(three.ensemble(layer - 1, parts)[0]) for n, parts in said.items()}
            kept = sorted(judged, key=lambda n: (-judged[n], n))[: widths[layer - 1]]
            below = [child for child in range(len(parents)) if parents[child] in kept]
            own = logits(layer, user, below)
            looked_at[layer] += len(below)
            said = {c: [*said[parents[c]], part] for c, part in zip(below, own, strict=True)}
        return {item + 1: float(three.ensemble(2, parts)[0]) for item, parts in said.items()}

    for row, user in enumerate(users):
        judged, own = {}, widths
        while len(judged) < 6:  # too few below the kept nodes: twice as many are kept
            judged = descend(user[None], own)
            own = [2 * width for width in own]
        best = sorted(judged, key=lambda item: (-judged[item], item))[:6]
        expected = torch.tensor([judged[item] for item in best])
        assert found[1][row].tolist() == best
        torch.testing.assert_close(found[0][row], expected, rtol=1e-4, atol=1e-5)
    assert searcher.pairs == looked_at


@pytest.mark.slow
@pytest.mark.parametrize("learning", ["joint", "em", "separate"])
def test_the_index_is_learnt(path, tmp_path, learning):
    changes = {"index_learning": learning, "em_epochs": 4, "item_epochs": 4, "epochs": 8}
    made = settings(path, run_dir=str(tmp_path), stopping_step=99, **changes)
    config = HillConfig("HSNN", "log", None, made)
    data = load_data(config)
    model = build_model(config, data)
    trainer = trainer_for(config, model)
    codes = []
    original = model._cluster
    model._cluster = lambda vectors: (original(vectors), codes.append(model.codes.clone()))
    trainer.fit(data.train, data.valid)
    model.eval()
    index = model.index
    assert index.n_items == 48 and sum(index.nodes_per_depth) <= 6
    assert len(codes) == {"joint": 0, "separate": 1, "em": 2}[learning]
    nodes = [parameter.requires_grad for parameter in model.learner.nodes]
    assert nodes == [learning == "joint"]
    # The planted tastes are categories: items of a node mostly share theirs.
    rows = model.data.item_features.tokens[1:, 1]
    node = torch.tensor(index.assignments(1))
    together = sum(int(rows[node == n].bincount().max()) for n in node.unique())
    assert together > 0.52 * 48  # .45 if drawn


def test_gradients_reach_items_and_nodes_through_the_index(path, tmp_path):
    config = HillConfig("HSNN", "log", None, settings(path, run_dir=str(tmp_path)))
    data = load_data(config)
    model = build_model(config, data)
    model.start_index(10)
    model.calculate_loss(next(iter(data.train))).backward()
    assert model.learner.nodes[0].grad.abs().sum() > 0
    assert model.matches[0].weight.grad.abs().sum() > 0
    assert all(block.item.fields.table.weight.grad.abs().sum() > 0 for block in model.blocks)


def test_the_index_is_of_the_items_as_they_serve(path, tmp_path):
    made = settings(path, run_dir=str(tmp_path), dropout_prob=0.5)
    config = HillConfig("HSNN", "log", None, made)
    model = build_model(config, load_data(config))
    serving = model.eval().index_vectors()
    torch.testing.assert_close(model.train().index_vectors(), serving)
    assert all(module.training for module in model.modules())


def test_soft_labels_teach_every_layer(path, three_folder, tmp_path, monkeypatch):
    made = settings(path, run_dir=str(tmp_path), distill_from=str(three_folder))
    config = HillConfig("HSNN", "log", None, made | {"distill_weight": 3.0})
    data = load_data(config)
    note_data(tmp_path, data.sha256)
    model = build_model(config, data)
    model.start_index(10)
    # The same pairs in both computations.
    monkeypatch.setattr(type(model.teacher), "draw", lambda *sizes: drawn)
    rows = next(iter(data.train))
    users, items = rows[model.USER_ID], rows[model.ITEM_ID]
    drawn = users.flip(0)[:50], items[:50], torch.rand(50, 2)
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def gradients(loss):
        model.load_state_dict(state)  # the schedule's step too
        model.zero_grad()
        loss().backward()
        return [p.grad.clone() for b in model.blocks for p in b.parameters() if p.grad is not None]

    both = gradients(lambda: model.calculate_loss(rows))
    n = len(users)
    context = [model.data.context_of(rows, n), model.data.context_of({}, 50)]
    weights = [torch.full((n,), 1 / n), torch.full((50,), 3.0 / 50)]
    labels = [label_matrix(rows, model.tasks), drawn[2]]

    def by_hand():
        cat = [torch.cat(pair) for pair in ((users, drawn[0]), (items, drawn[1]), labels, weights)]
        of_users, of_items, targets, shares = cat
        whole = type(context[0]).cat(context)
        return model.loss_of(of_users, of_items, whole, targets, shares)

    for ours, expected in zip(both, gradients(by_hand), strict=True):
        torch.testing.assert_close(ours, expected)
    # Of the drawn pairs alone: every network learns.
    only = gradients(lambda: model.loss_of(*drawn[:2], context[1], drawn[2], weights[1]))
    assert len(only) == len(both) and all(g.abs().sum() > 0 for g in only[:1])
    for block in model.blocks:
        assert block.item.fields.table.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("layers", [TWO, THREE])
def test_a_share_of_the_gradient_goes_through_the_index_into_the_items(path, tmp_path, layers):
    """None: as if pseudo items were constants. A quarter: a quarter of what all of it adds."""
    found = {}
    for share in (0.0, 0.25, 1.0, "constants"):
        folder = tmp_path / str(share)
        share_set = 1.0 if share == "constants" else share
        made = settings(path, hsnn_layers=layers, run_dir=str(folder), index_gradient=share_set)
        config = HillConfig("HSNN", "log", None, made)
        data = load_data(config)
        torch.manual_seed(0)
        model = build_model(config, data)
        model.start_index(10)
        model.learner.step.fill_(8)
        if share == "constants":
            pseudo_items = model._pseudo_items

            def constants(items, vectors, pseudo_items=pseudo_items):
                pseudo, loss = pseudo_items(items, vectors)
                return [part.detach() for part in pseudo], loss.detach()

            model._pseudo_items = constants
        model.calculate_loss(data.train._dataset.inter_feat).backward()
        tower = model.blocks[-1].item.parameters()
        found[share] = torch.cat([parameter.grad.flatten() for parameter in tower])
    torch.testing.assert_close(found[0.0], found["constants"])
    added = found[1.0] - found[0.0]
    assert added.norm() > 0.1 * found[0.0].norm()
    torch.testing.assert_close(found[0.25], found[0.0] + 0.25 * added, rtol=1e-4, atol=1e-6)


def test_own_losses_leave_the_item_layer_alone_and_fit_the_ensemble(path, tmp_path):
    """The item layer's gradient is its own loss's; the ensemble's is logistic regression's."""
    config = HillConfig("HSNN", "log", None, settings(path, run_dir=str(tmp_path)))
    data = load_data(config)
    model = build_model(config, data)
    rows, item_layer = data.train._dataset.inter_feat, list(model.blocks[-1].parameters())
    model.item_layer_loss(rows).backward()
    alone = [parameter.grad.clone() for parameter in item_layer]
    model.zero_grad()
    model.start_index(10)
    said, ensemble = [], model.ensemble
    model.ensemble = lambda layer, logits: (said.append(logits), ensemble(layer, logits))[1]
    mixture = model.mixtures[-1]
    with torch.no_grad():
        mixture.weights.copy_(torch.tensor([[0.5, 0.1], [0.7, 0.2]]))
    model.calculate_loss(rows).backward()
    for parameter, expected in zip(item_layer, alone, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    node, item = said[-1]
    labels = label_matrix(rows, model.tasks)
    wrong = (0.5 * node[:, 0] + 0.7 * item[:, 0]).sigmoid() - labels[:, 0]
    expected = torch.stack([(wrong * node[:, 0]).mean(), (wrong * item[:, 0]).mean()])
    torch.testing.assert_close(mixture.weights.grad[:, 0], expected, rtol=1e-4, atol=1e-6)
    wrong = (0.1 * node[:, 1] + 0.2 * item[:, 1]).sigmoid() - labels[:, 1]
    torch.testing.assert_close(mixture.bias.grad[1], 0.5 * wrong.mean(), rtol=1e-4, atol=1e-6)


def test_through_the_ensemble_a_layer_learns_what_is_left_over(path, tmp_path):
    """The logits' gradient is the ensemble's error, by the layer's weight in it."""
    made = settings(path, run_dir=str(tmp_path), layer_loss="ensemble")
    config = HillConfig("HSNN", "log", None, made)
    model = build_model(config, load_data(config))
    said = [torch.randn(5, 2, requires_grad=True) for _ in range(2)]
    labels = torch.tensor([[1.0, 0], [0, 0], [1, 1], [0, 0], [1, 0]])
    with torch.no_grad():
        model.mixtures[1].weights.copy_(torch.tensor([[0.5, 0.1], [0.7, 0.2]]))
    model._layer_loss(1, said, labels, torch.full((5,), 0.2)).backward()
    wrong = (0.5 * said[0][:, 0] + 0.7 * said[1][:, 0]).sigmoid() - labels[:, 0]
    torch.testing.assert_close(said[0].grad[:, 0], 0.5 * wrong / 5)
    torch.testing.assert_close(said[1].grad[:, 0], 0.7 * wrong / 5)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("em_epochs", 0, "an integer >= 1"),
        ("item_epochs", 1.5, "an integer >= 0"),
        ("index_balance_batches", 0, "an integer >= 1"),
        ("embedding_size", 0, "an integer >= 1"),
        ("index_alpha", 0, "a number above 0"),
        ("index_alpha", "sharp", "a number above 0"),
        ("index_alpha_power", "two", "a number >= 0"),
        ("index_weight", -0.1, "a number >= 0"),
        ("index_balance", float("nan"), "a number >= 0"),
        ("index_epochs", -1, "a number >= 0"),
        ("index_warmup_epochs", None, "a number >= 0"),
        ("aux_weight", True, "a number >= 0"),
        ("beam_width", 0, "an integer >= 1, a list of such, or full"),
        ("layer_loss", "both", "one of own, ensemble"),
        ("index_gradient", 1.5, r"a number in \[0, 1\]"),
        ("index_gradient", "all", r"a number in \[0, 1\]"),
    ],
)
def test_bad_settings_are_named(path, key, value, accepted):
    with pytest.raises(ValueError, match=rf"^{key} must be {accepted}, got"):
        HillConfig("HSNN", "log", None, settings(path, **{key: value}))


def test_a_beam_of_other_layers_is_named(path):
    config = HillConfig("HSNN", "log", None, settings(path, beam_width=[3, 3]))
    accepted = r"a positive integer, one per depth of .6,., or 'full'"
    with pytest.raises(ValueError, match=rf"^beam_width must be {accepted}[,;] got"):
        build_model(config, load_data(config))


def started(path, folder, **changes):
    """A model whose index has just started."""
    config = HillConfig("HSNN", "log", None, settings(path, run_dir=str(folder), **changes))
    model = build_model(config, load_data(config))
    model.start_index(10)
    return model


@pytest.mark.parametrize("revives", [True, False])
def test_unused_nodes_move_after_an_epoch_if_they_may(path, tmp_path, revives):
    model = started(path, tmp_path, index_revive=revives)
    nodes = model.learner.nodes[0]
    with torch.no_grad():
        nodes[[1, 4]] = 1000.0  # where no item is
    before = nodes.detach().clone()
    model.begin_epoch(0)
    assert torch.equal(nodes, before)  # they were never trained
    model.learner.step += 1
    model.begin_epoch(1)
    moved = (nodes != before).any(1).nonzero().flatten().tolist()
    assert moved == ([1, 4] if revives else [])
    assert model.index.nodes_per_depth == (6 if revives else 4,)


def test_an_unused_node_that_stays_moves_by_its_gradient_alone(path, tmp_path):
    changes = {"index_revive": False, "index_balance": 0.0, "index_alpha_power": 0.0}
    model = started(path, tmp_path, **changes)
    nodes = model.learner.nodes[0]
    with torch.no_grad():
        nodes[2] = 1000.0  # so far away that no item attends to it
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = nodes.detach().clone()
    for epoch in range(2):
        model.begin_epoch(epoch)
        for batch in load_data(model.settings).train:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    assert torch.equal(nodes[2], before[2]) and (nodes != before).any(1).sum() == 5


def test_random_nodes_have_the_scale_of_the_item_embeddings(path, tmp_path):
    changes = {"hsnn_layers": THREE, "index_start": "random", "seed": 3}
    model, again = (started(path, tmp_path / str(n), **changes) for n in range(2))
    scale = model.index_vectors().square().mean().sqrt()
    draws = np.random.default_rng(3)
    for nodes, same in zip(model.learner.nodes, again.learner.nodes, strict=True):
        drawn = torch.from_numpy(draws.standard_normal(nodes.shape, dtype=np.float32))
        torch.testing.assert_close(nodes.detach(), drawn * scale)
        assert torch.equal(nodes, same)
    kmeans = started(path, tmp_path / "kmeans", **changes | {"index_start": "kmeans"})
    assert not torch.equal(kmeans.learner.nodes[0], model.learner.nodes[0])


@pytest.mark.slow
def test_top_down_codes_make_a_tree(path, tmp_path):
    made = settings(path, hsnn_layers=THREE, index_direction="top_down", run_dir=str(tmp_path))
    result = run("HSNN", "log", overrides=made)
    model = LoadedRun.load(result.folder).model
    users = torch.arange(1, 20)
    exact = ExhaustiveSearch(model).search(users, 5)[1]
    assert torch.equal(model.searcher(full=True).search(users, 5)[1], exact)
    with pytest.raises(ValueError, match="index_learning em builds bottom_up"):
        made = settings(path, index_direction="top_down", index_learning="em")
        config = HillConfig("HSNN", "log", None, made)
        build_model(config, load_data(config))


def test_before_the_index_the_item_layer_predicts(path):
    config = HillConfig("HSNN", "log", None, settings(path))
    data = load_data(config)
    model = build_model(config, data).eval()
    assert model.index is None
    batch = next(iter(data.train))
    context = model.data.context_of(batch, len(batch))
    users, items = batch["user_id"], batch["item_id"]
    alone = model._item_layer(users, items, context, items)[0]
    torch.testing.assert_close(model.probabilities(batch), alone.sigmoid())
