"""Models around LightGCN, against dense references and against LightGCN itself."""

import copy

import contract
import numpy as np
import pytest
import torch
from reference import close, noting, vectors
from scipy.integrate import solve_ivp

from recbole_hill.data.graph import propagate


def parts(model):
    """Returns the tables as nodes, and the dense normalised adjacency."""
    ego = torch.cat((model.user_embedding.weight, model.item_embedding.weight)).detach()
    return ego, model.graph.normalized().to_dense()


# -- LightGCN -----------------------------------------------------------------------------------


def test_lightgcn_is_recboles_formula(build):
    model, batch = build("LightGCN", n_layers=2, require_pow=True, reg_weight=0.3)
    ego = torch.cat((model.user_embedding.weight, model.item_embedding.weight))
    a = model.norm_adj_matrix.to_dense()
    expected = (ego + a @ ego + a @ (a @ ego)) / 3
    users, items = model.forward()
    close(torch.cat((users, items)), expected)
    torch.manual_seed(3)
    loss = model.calculate_loss(batch)
    loss.backward()
    found = model.user_embedding.weight.grad.clone()
    model.zero_grad()
    torch.manual_seed(3)
    u, i, j = model.draw(batch)
    j = j[:, 0]
    nodes = expected.split((model.n_users, model.n_items))
    scores = [(nodes[0][u] * nodes[1][k]).sum(1) for k in (i, j)]
    plain = -torch.log(1e-10 + (scores[0] - scores[1]).sigmoid()).mean()
    rows = (model.user_embedding(u), model.item_embedding(i), model.item_embedding(j))
    plain = plain + 0.3 * sum(row.square().sum() for row in rows) / 2 / len(u)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    plain.backward()
    close(found, model.user_embedding.weight.grad)


# -- LT-OCF -------------------------------------------------------------------------------------


def test_ltocf_with_unit_euler_steps_is_lightgcn(build):
    model, _ = build("LT-OCF", solver="euler", n_layers=4)
    ego, _ = parts(model)
    close(vectors(model), propagate(model.graph.normalized(), ego, 4, with_ego=True))


def test_ltocf_solves_its_equation(build):
    model, _ = build("LT-OCF", n_layers=3, time_learning_rate=0.1, learning_rate=0.1)
    with torch.no_grad():
        model.time_shift.copy_(torch.tensor([-0.4, -0.6]))  # times 0, .6, 1.4, 3
    ego, a = parts(model)
    a, x = a.double().numpy(), ego.double().numpy()
    outputs, state = [x], x
    for start, end in ((0, 0.6), (0.6, 1.4), (1.4, 3)):
        flat = solve_ivp(
            lambda t, y: (a @ y.reshape(x.shape)).ravel(),
            (start, end),
            state.ravel(),
            rtol=1e-8,
            atol=1e-10,
        ).y[:, -1]
        state = flat.reshape(x.shape) - state
        outputs.append(state)
    # One RK4 step of length 1.6 misses exp by 1.6^5 / 120 of the largest eigenvalue's share, 1.
    np.testing.assert_allclose(
        vectors(model).detach().numpy(), sum(outputs) / 4, atol=0.06 * np.abs(x).max()
    )
    exact = np.eye(len(a)) + a + a @ a / 2 + a @ a @ a / 6 + a @ a @ a @ a / 24
    fixed, _ = build("LT-OCF", n_layers=1)
    ego, _ = parts(fixed)
    step = torch.from_numpy(exact).float() @ ego - ego
    close(vectors(fixed), (ego + step) / 2)


def test_ltocfs_times_learn_and_stay_in_order(build):
    model, batch = build("LT-OCF", n_layers=4, time_learning_rate=0.05, learning_rate=0.1)
    assert model.times().tolist() == [0, 1, 2, 3, 4]
    model.calculate_loss(batch).backward()
    assert model.time_shift.grad.abs().min() > 0
    with torch.no_grad():
        model.time_shift.copy_(torch.tensor([100.0, -9.0, 1.0]))
    times = model.times()
    assert (times.diff() >= 0).all() and times[0] == 0 and times[-1] == 4


def test_ltocfs_times_move_at_a_rate_of_their_own(build):
    model, batch = build("LT-OCF", n_layers=3, time_learning_rate=1e-4, learning_rate=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model.calculate_loss(batch).backward()
    optimizer.step()  # Adam's first is as long as its rate
    moved = (model.times() - torch.tensor([0.0, 1.0, 2.0, 3.0])).abs()
    np.testing.assert_allclose(moved.detach().numpy(), [0, 1e-4, 1e-4, 0], rtol=0.02)
    fixed, batch = build("LT-OCF", n_layers=3, time_learning_rate=0.0, learning_rate=0.1)
    fixed.calculate_loss(batch).backward()
    assert not fixed.time_shift.grad.any()


# -- HMLET --------------------------------------------------------------------------------------


def test_hmlet_gated_to_linear_is_lightgcn(build):
    model, _ = build("HMLET", gates="linear", edge_dropout=0.0)
    ego, _ = parts(model)
    close(vectors(model), propagate(model.graph.normalized(), ego, 4, with_ego=True))


def test_hmlet_ranks_by_the_likelier_candidate(build):
    model, _ = build("HMLET", edge_dropout=0.0)
    model.eval()
    ego, a = parts(model)
    layers = [ego, a @ ego]
    layers.append(a @ layers[1])
    candidates = [(a @ layers[2], layers[1])]
    elu = torch.nn.functional.elu
    for gate in model.gates:
        linear, other = candidates[-1]
        pick = gate(torch.cat((linear, elu(other)), 1)).argmax(1, keepdim=True)
        layers.append(torch.where(pick == 0, linear, elu(other)))
        candidates.append((a @ layers[-1], a @ layers[-1]))
    close(vectors(model), sum(layers[:5]) / 5)
    assert torch.equal(vectors(model), vectors(model))


def test_hmlet_learns_by_soft_choices(build):
    model, _ = build("HMLET", gate_dropout=0.0, temperature=0.7)
    model.train()
    linear, other = torch.randn(2, len(model.graph), model.user_embedding.weight.shape[1])
    bent = torch.where(other > 0, other, other.exp() - 1)
    torch.manual_seed(5)
    noise = -torch.empty(len(linear), 2).exponential_().log()
    chances = ((model.gates[0](torch.cat((linear, bent), 1)) + noise) / 0.7).exp()
    weights = chances / chances.sum(1, keepdim=True)
    torch.manual_seed(5)
    found = model._choose(model.gates[0], linear, other)
    close(found, weights[:, :1] * linear + weights[:, 1:] * bent)


def test_hmlets_schedule(build):
    changes = {"gate_warmup_epochs": 3, "temperature": 0.7, "least_temperature": 0.5}
    model, _ = build("HMLET", temperature_decay=0.1, **changes)
    late = (3, 0.7, True), (4, 0.7 * np.exp(-0.1), True)
    for epoch, temperature, learns in ((0, 0.7, False), (2, 0.7, False), *late):
        model.begin_epoch(epoch)
        assert model.temperature == pytest.approx(temperature)
        assert all(p.requires_grad is learns for p in model.gates.parameters())
    model.begin_epoch(50)
    assert model.temperature == 0.5


def test_hmlet_drops_edges_once_a_forward_pass_of_training(build, monkeypatch):
    model, _ = build("HMLET", edge_dropout=0.4, gate_dropout=0.0)
    drawn = noting(monkeypatch, model.graph, "dropout")
    model.train()
    vectors(model)
    model.eval()
    vectors(model)
    assert drawn == [(0.4,), (0.0,)]


# -- GTN ----------------------------------------------------------------------------------------


def incidence(model, of_adjacency=False):
    edges = torch.arange(model.graph.n_edges)
    matrix = torch.zeros(len(edges), len(model.graph))
    matrix[edges, model.graph.row[edges]], matrix[edges, model.graph.col[edges]] = 1.0, -1.0
    degree = parts(model)[1].sum(1) if of_adjacency else model.graph.degree
    return matrix * (1 + degree).rsqrt()


@pytest.mark.parametrize("degree", ["graph", "adjacency"])
def test_gtn_by_dense_incidence(build, degree):
    changes = {"n_layers": 3, "trend_weight": 0.05, "dual_step": 0.4, "dropout_rate": 0.0}
    model, _ = build("GTN", init_std=1.0, incidence_degree=degree, **changes)
    c, h = incidence(model, degree == "adjacency"), parts(model)[0].requires_grad_()
    x, z = h, torch.zeros(len(c), h.shape[1])
    for _ in range(3):
        z = (z + 0.4 * c @ x).clamp(-0.05, 0.05)
        x = h - c.T @ z
    assert (z.abs() == 0.05).any() and (z.abs() < 0.05).any()
    found, upstream = vectors(model), torch.randn(x.shape)
    close(found, x)
    tables = model.user_embedding.weight, model.item_embedding.weight
    own = torch.cat(torch.autograd.grad(found, tables, upstream))
    close(own, torch.autograd.grad(x, h, upstream)[0])


def largest_dual(model, ego, of_adjacency):
    """The largest |Z| of all steps, without clips."""
    c, x = incidence(model, of_adjacency), ego
    z, largest = 0.0, 0.0
    for _ in range(model.n_layers):
        z = z + model.dual_step * c @ x
        largest = max(largest, z.abs().max().item())
        x = ego - c.T @ z
    return largest


@pytest.mark.parametrize(("degree", "step"), [("graph", 0.4), ("graph", 1.7), ("adjacency", 0.1)])
def test_gtns_bound_is_above_every_dual_value(build, degree, step):
    changes = {"n_layers": 3, "dual_step": step, "incidence_degree": degree, "init_std": 1.0}
    model, _ = build("GTN", dropout_rate=0.0, **changes)
    ego, _ = parts(model)
    largest = largest_dual(model, ego, degree == "adjacency")
    model.trend_weight = 0.999 * largest
    assert not model.never_clips(ego)
    model.trend_weight = 1e4 * largest
    assert model.never_clips(ego)


@pytest.mark.parametrize("degree", ["graph", "adjacency"])
def test_gtn_without_clips_is_edge_by_edge(build, monkeypatch, degree):
    changes = {"n_layers": 3, "dual_step": 0.4, "trend_weight": 1e5, "incidence_degree": degree}
    model, batch = build("GTN", init_std=1.0, dropout_rate=0.0, **changes)
    assert model.never_clips(parts(model)[0])
    found = []
    for linear in (True, False):
        monkeypatch.setattr(model, "never_clips", lambda ego, linear=linear: linear)
        torch.manual_seed(3)
        loss = model.calculate_loss(batch)
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    for one, other in zip(*found, strict=True):
        close(one, other)


def test_gtn_without_trend_weight_leaves_the_embeddings(build):
    model, _ = build("GTN", trend_weight=0.0, dropout_rate=0.0)
    assert torch.equal(vectors(model), parts(model)[0])


def test_gtn_drops_out_its_result_in_training(build):
    model, _ = build("GTN", dropout_rate=0.5)
    model.train()
    assert 0.4 < (vectors(model) == 0).float().mean() < 0.6
    model.eval()
    assert (vectors(model) == 0).float().mean() < 0.1  # the padding's and no others


def test_gtn_lowers_what_it_minimises(build):
    c_norms = []
    for layers in (1, 40):
        model, _ = build("GTN", n_layers=layers, trend_weight=0.02, dropout_rate=0.0)
        c, (h, _) = incidence(model), parts(model)
        x = vectors(model).detach()
        c_norms.append((0.5 * (x - h).square().sum() + 0.02 * (c @ x).abs().sum()).item())
    assert c_norms[1] < c_norms[0]


# -- softmax losses -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MF-SSM", "LightGCN-SSM"])
def test_in_batch_softmax_by_the_plain_matrix(build, name):
    model, batch = build(name, rivals="batch", tau=0.15, reg_weight=0.2, train_batch_size=200)
    user, item = batch["user_id"], batch["item_id"]
    assert len(item.unique()) < len(item)
    users, items = model.user_item_embeddings()
    close(users[1:].norm(dim=1), torch.ones(model.n_users - 1))
    logits = users[user] @ items[item].T / 0.15
    expected = -logits.log_softmax(1).diagonal().mean()
    rows = (model.user_embedding(user), model.item_embedding(item))
    expected = expected + 0.1 * sum(row.square().sum() for row in rows) / len(user)
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [
        torch.autograd.grad(loss, model.user_embedding.weight, retain_graph=True)[0]
        for loss in (found, expected)
    ]
    close(*gradients)


# A step computes the batch's vectors alone; HILL hands the same loss the vectors of all.


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("LightGCN-SSM", {"rivals": "batch", "rank_by": "cosine"}),
        ("LightGCN-SSM", {"rivals": "corrected", "n_layers": 1}),
        ("LightGCN-SSM", {"rivals": "shared", "n_negatives": 5, "rank_by": "product"}),
        ("LightGCN-BSL", {"rivals": "batch", "rank_by": "product", "n_layers": 0}),
        ("LightGCN-BSL", {"rivals": "batch", "pool_positives": True, "dropout_rate": 0.3}),
        ("LightGCN", {"n_layers": 2, "require_pow": True}),
        ("SGL-ED", {"n_layers": 2}),
        ("BUIR", {"n_layers": 2}),
        ("GC-MC", {"dropout_rate": 0.0}),
        ("PinSage", {"n_layers": 2}),
        ("PinSage", {"n_layers": 1}),
        ("GAT", {"n_layers": 2, "n_heads": 2}),
        ("DisenGCN", {"n_layers": 2, "dropout_rate": 0.0}),
        ("DGCF", {"n_layers": 2, "cor_weight": 0.1}),
        ("NIA-GCN", {"n_layers": 2}),
        ("NIA-GCN", {"n_layers": 1}),
        ("IMP-GCN", {"n_layers": 4, "group_dropout": 0.0, "init_std": 1.0}),
        ("LT-OCF", {"n_layers": 3, "time_learning_rate": 0.1, "learning_rate": 0.1}),
        ("DeosGCF", {"n_layers": 2, "edge_dropout": 0.0}),
        ("GTN", {"dropout_rate": 0.0}),
        ("GTN", {"dropout_rate": 0.0, "trend_weight": 0.01}),
        ("HMLET", {"edge_dropout": 0.0, "gate_dropout": 0.0, "gates": "linear"}),
        ("LightGCN++", {"n_layers": 1}),
        ("LightGCN++", {"n_layers": 2}),
        ("LightGCN++-BSL", {"rivals": "batch", "rank_by": "product"}),
        ("EGCF", {"n_layers": 3, "ssl_weight": 0.5}),
        ("EGCF", {"n_layers": 2, "aggregation": "alternating"}),
        ("NESCL", {"ssl_warmup_epochs": 1}),
        ("NESCL", {"ssl_warmup_epochs": 0, "dropout_kind": "edge", "with_ego": False}),
        ("NESCL", {"ssl_warmup_epochs": 0, "use_bpr": False, "ssl_form": "in"}),
    ],
)
def test_a_batchs_vectors_are_enough_for_its_loss(build, name, changes):
    regularised = {} if name == "BUIR" else {"reg_weight": 0.1}
    model, batch = build(name, **regularised, **changes)
    found = []
    for vectors_of_all in (False, True):
        model.zero_grad()
        torch.manual_seed(3)
        if vectors_of_all:
            loss = model.embedding_loss(*model.user_item_embeddings(), batch)
        else:
            loss = model.calculate_loss(batch)
        loss.backward()
        gradients = (p.grad for p in model.parameters() if p.grad is not None)
        found.append((loss.detach(), *(gradient.clone() for gradient in gradients)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["MF-SSM", "LightGCN-SSM"])
def test_softmax_over_drawn_items(build, name):
    model, batch = build(name, tau=0.15, reg_weight=0.0, rivals="uniform", n_negatives=4)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    users, items = model.user_item_embeddings()
    shown = items[torch.cat((positive.unsqueeze(1), negative), 1)]
    logits = (users[user].unsqueeze(1) * shown).sum(2) / 0.15
    expected = -logits.log_softmax(1)[:, 0].mean()
    torch.manual_seed(3)
    assert model.calculate_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="rivals"):
        build(name, rivals="all")


@pytest.mark.parametrize("rivals", ["batch", "corrected"])
@pytest.mark.parametrize("name", ["MF-SSM", "LightGCN-SSM", "SpectralSSM"])
def test_nothing_is_drawn_where_the_batch_is_the_rivals(build, monkeypatch, name, rivals):
    model, batch = build(name, rivals=rivals, **({"spectral_rank": 4} if "Sp" in name else {}))
    monkeypatch.setattr(model.sampler, "negatives", None)
    for loss in (
        model.calculate_loss(batch),
        model.embedding_loss(*model.user_item_embeddings(), batch),
    ):
        assert torch.isfinite(loss)


# -- SGL-ED -------------------------------------------------------------------------------------


def test_sgls_contrast_by_the_plain_matrix(build):
    changes = {"ssl_tau": 0.3, "edge_dropout": 0.4, "reg_weight": 0.2, "init_std": 0.1}
    model, batch = build("SGL-ED", n_layers=2, ssl_weight=0.7, **changes)
    model.begin_epoch(0)
    ego, _ = parts(model)
    ego.requires_grad_()
    views = []
    for graph in model.views:
        a = graph.to_dense()
        nodes = (ego + a @ ego + a @ (a @ ego)) / 3
        nodes = nodes / nodes.norm(dim=1, keepdim=True)
        views.append(nodes.split((model.n_users, model.n_items)))
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    expected = 0.0
    for ids, first, second in zip((user, positive), *views, strict=True):
        logits = first[ids] @ second[1:].T / 0.3
        expected = expected - logits.log_softmax(1)[torch.arange(len(ids)), ids - 1].sum()
    found = model.contrast(user, positive)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    close(model.user_embedding.weight.grad, ego.grad[: model.n_users])
    torch.manual_seed(3)
    users, items = model.user_item_embeddings()
    negative = negative[:, 0]
    ranking = -(users[user] * (items[positive] - items[negative])).sum(1).sigmoid().log().sum()
    rows = (
        model.user_embedding(user),
        model.item_embedding(positive),
        model.item_embedding(negative),
    )
    l2 = 0.2 / 2 * sum(row.square().sum() for row in rows)
    assert model.calculate_loss(batch).item() == pytest.approx(
        (ranking + 0.7 * found + l2).item(), rel=1e-5
    )


def test_sgls_views_are_drawn_once_an_epoch(build):
    model, batch = build("SGL-ED", edge_dropout=0.4)
    model.begin_epoch(0)
    first, second = model.views
    assert not torch.equal(first.values(), second.values())
    model.calculate_loss(batch)
    assert model.views[0] is first
    model.begin_epoch(1)
    assert not torch.equal(model.views[0].values(), first.values())


# -- BUIR ---------------------------------------------------------------------------------------


def test_buirs_loss_and_score(build):
    model, batch = build("BUIR", n_layers=2)
    with torch.no_grad():
        for table in model.target:
            table.weight.normal_()
    ego, _ = parts(model)
    target = torch.cat([table.weight for table in model.target])
    online, aimed = (
        propagate(model.graph.normalized(), x, 2, with_ego=True).split(
            (model.n_users, model.n_items)
        )
        for x in (ego, target)
    )
    user, item = batch["user_id"], batch["item_id"]
    cos = torch.nn.functional.cosine_similarity
    expected = (2 - 2 * cos(model.predictor(online[0][user]), aimed[1][item])).mean()
    expected += (2 - 2 * cos(model.predictor(online[1][item]), aimed[0][user])).mean()
    assert model.calculate_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    left, right = model.user_item_embeddings()
    score = model.predictor(online[0][3]) @ online[1][4] + online[0][3] @ model.predictor(
        online[1][4]
    )
    assert (left[3] @ right[4]).item() == pytest.approx(score.item(), rel=1e-5)


def test_buirs_target_follows_every_step(build):
    model, batch = build("BUIR", momentum=0.9)
    before = model.target[0].weight.clone()
    model.calculate_loss(batch).backward()
    assert torch.equal(model.target[0].weight, before)
    assert all(p.grad is None for p in model.target.parameters())
    with torch.no_grad():
        model.user_embedding.weight.add_(1)  # a step
    model.calculate_loss(batch)
    close(model.target[0].weight, 0.9 * before + 0.1 * model.user_embedding.weight)


def test_buirs_weight_decay_is_adams(tiny_path, tmp_path):
    model, trainer, data = contract.built("BUIR", tiny_path, tmp_path, weight_decay=0.3)
    reference = torch.optim.Adam(model.parameters(), lr=trainer.learning_rate, weight_decay=0.3)
    batch, before = next(iter(data.train)), copy.deepcopy(model.state_dict())
    stepped = []
    for optimizer in (trainer.optimizer, reference):
        model.load_state_dict(before)
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        stepped.append(model.item_embedding.weight.clone())
    close(*stepped)
