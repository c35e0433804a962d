"""MGDCF's trainer and the networks in it, against dense references and against each other."""

import pytest
import torch
from reference import close, ego, noting, vectors

from recbole_hill.data.graph import propagate
from recbole_hill.host.dropout import dropout

NO_DROPOUT = {"input_dropout": 0.0, "edge_dropout": 0.0, "output_dropout": 0.0}
DROPOUT = {"input_dropout": 0.3, "edge_dropout": 0.2, "output_dropout": 0.4}


def test_mgdcf_with_ones_is_lightgcns_mean(build):
    model, _ = build("MGDCF", alpha=1.0, beta=1.0, **NO_DROPOUT)
    expected = propagate(model.graph.normalized(), ego(model), model.n_layers, with_ego=True)
    torch.testing.assert_close(vectors(model), expected, rtol=1e-5, atol=1e-6)


def test_mgdcf_by_dense_recursion(build):
    model, _ = build("MGDCF", alpha=0.3, beta=0.6, n_layers=2, **NO_DROPOUT)
    x, a = ego(model), model.graph.normalized().to_dense()
    expected = (0.36 * a @ a @ x + 0.18 * a @ x + 0.3 * x) / (0.36 + 0.3 * 1.6)
    torch.testing.assert_close(vectors(model), expected, rtol=1e-5, atol=1e-6)


def test_appnps_gamma_is_one(build):
    model, _ = build("APPNP", alpha=0.2, n_layers=3, **NO_DROPOUT)
    assert model.gamma == pytest.approx(1) and model.beta == 0.8


def test_appnp_is_pygs(build):
    geometric = pytest.importorskip("torch_geometric.nn")
    model, _ = build("APPNP", alpha=0.1, n_layers=4, **NO_DROPOUT)
    layer = geometric.APPNP(K=4, alpha=0.1, add_self_loops=False)
    edges = torch.stack((model.graph.row, model.graph.col))
    expected = layer(ego(model), edges)
    torch.testing.assert_close(vectors(model), expected, rtol=1e-4, atol=1e-5)


def test_jknet_by_dense_layers(build):
    model, _ = build("JKNet", n_layers=2, hidden_dropout=0.0, **NO_DROPOUT)
    x, a = ego(model), model.graph.normalized().to_dense()
    layers = [x]
    for layer in model.layers:
        hidden = a @ layers[-1] @ layer.weight.T + layer.bias
        layers.append(torch.where(hidden > 0, hidden, 0.2 * hidden))
    torch.testing.assert_close(vectors(model), sum(layers) / 3, rtol=1e-4, atol=1e-5)


def test_dropedge_without_dropping_is_jknet(build):
    same = {**NO_DROPOUT, "hidden_dropout": 0.0}
    (first, _), (second, _) = build("JKNet", **same), build("DropEdge", **same)
    assert torch.equal(vectors(first), vectors(second))
    dropping, _ = build("DropEdge", **{**same, "edge_dropout": 0.5})
    assert not torch.equal(vectors(first), vectors(dropping))


@pytest.mark.parametrize("n", [1, 3])
def test_the_trainers_loss(build, n):
    model, batch = build("MGDCF", n_negatives=n, reg_weight=0.2, **NO_DROPOUT)
    users, items = model.user_item_embeddings()
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    logits = torch.stack([items[positive], *items[negative].unbind(1)]) @ users[user].T
    logits = logits.diagonal(dim1=1, dim2=2).T  # (B, 1 + n)
    expected = -logits.log_softmax(1)[:, 0].sum()
    if n == 1:  # BPR
        expected = -(logits[:, 0] - logits[:, 1]).sigmoid().log().sum()
    expected = expected + 0.1 * (users[1:].square().sum() + items[1:].square().sum())
    torch.manual_seed(3)
    assert model.calculate_loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_trainers_l2_is_of_what_the_output_dropout_leaves(build):
    changes = {"input_dropout": 0.0, "edge_dropout": 0.0, "output_dropout": 0.5}
    model, batch = build("MGDCF", reg_weight=0.4, **changes)
    model.train()
    torch.manual_seed(3)
    found = model.calculate_loss(batch).item()
    torch.manual_seed(3)
    users, items = model.user_item_embeddings()
    assert 0.3 < (users[1:] == 0).float().mean() < 0.7
    model.reg_weight = 0.0
    plain = model.embedding_loss(users, items, batch).item()
    norms = users[1:].square().sum() + items[1:].square().sum()
    assert found == pytest.approx(plain + 0.2 * norms.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "draws"), [("MGDCF", 1), ("APPNP", 1), ("JKNet", 3), ("DropEdge", 3)]
)
def test_dropouts_are_drawn_in_training_only(build, monkeypatch, name, draws):
    model, _ = build(name, n_layers=3, **dict.fromkeys(NO_DROPOUT, 0.3))
    drawn = noting(monkeypatch, model.graph, "dropout")
    model.train()
    assert not torch.equal(vectors(model), vectors(model))
    assert drawn == [(0.3,)] * 2 * draws
    model.eval()
    assert torch.equal(vectors(model), vectors(model)) and set(drawn[2 * draws :]) == {(0.0,)}


@pytest.mark.parametrize("name", ["MGDCF", "APPNP"])
def test_a_diffusion_drops_out_inputs_edges_and_outputs(build, name):
    model, _ = build(name, n_layers=2, **DROPOUT)
    torch.manual_seed(3)
    found = vectors(model)
    torch.manual_seed(3)
    nodes = x = dropout(ego(model), 0.3)
    a = model.graph.dropout(0.2).to_dense()
    for _ in range(2):
        nodes = model.beta * a @ nodes + model.alpha * x
    close(found, dropout(nodes / model.gamma, 0.4))


@pytest.mark.parametrize("name", ["JKNet", "DropEdge"])
def test_jknet_drops_out_its_layers_besides(build, name):
    model, _ = build(name, n_layers=2, hidden_dropout=0.5, **DROPOUT)
    torch.manual_seed(3)
    found = vectors(model)
    torch.manual_seed(3)
    layers = [dropout(ego(model), 0.3)]
    for layer in model.layers:
        a = model.graph.dropout(0.2).to_dense()
        hidden = a @ layers[-1] @ layer.weight.T + layer.bias
        layers.append(dropout(torch.where(hidden > 0, hidden, 0.2 * hidden), 0.5))
    close(found, dropout(sum(layers) / 3, 0.4))


def test_the_trainers_tables_start_small_and_cut_off(build):
    model, _ = build("MGDCF", embedding_size=16, init_std=7.0)
    table = model.item_embedding.weight
    # A normal cut off at two deviations keeps .774 of its variance.
    assert table.abs().max() <= 0.5 and table.std().item() == pytest.approx(0.25 * 0.88, rel=0.1)


def test_edge_dropout_keeps_the_mean_and_the_symmetry(build):
    model, _ = build("MGDCF")
    whole = model.graph.normalized().to_dense()
    torch.manual_seed(0)
    draws = [model.graph.dropout(0.4).to_dense() for _ in range(400)]
    assert all(torch.equal(d, d.T) for d in draws[:5])
    kept = draws[0][whole > 0] > 0
    assert 0.5 < kept.float().mean() < 0.7
    torch.testing.assert_close(draws[0][whole > 0][kept], whole[whole > 0][kept] / 0.6)
    mean = torch.stack(draws).mean(0)
    assert (mean - whole).abs().max() < 6 * whole.max() * (0.4 / 0.6 / 400) ** 0.5


def mean_over_neighbours(model):
    adjacency = (model.graph.normalized().to_dense() > 0).float()
    return adjacency / adjacency.sum(1, keepdim=True).clamp_min(1)


def test_gcmc_by_dense_layers(build):
    dropped, _ = build("GC-MC", dropout_rate=0.5)
    assert (vectors(dropped) == 0).float().mean() > 0.4  # after the dense layer
    model, batch = build("GC-MC", dropout_rate=0.0, reg_weight=0.3)
    x, p = ego(model), mean_over_neighbours(model)
    hidden = p @ x @ model.convolution.weight.T + model.convolution.bias
    hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    expected = hidden @ model.dense.weight.T + model.dense.bias
    torch.testing.assert_close(vectors(model), expected, rtol=1e-4, atol=1e-5)
    users, items = expected.split((model.n_users, model.n_items))
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    negative = negative[:, 0]
    difference = (users[user] * (items[positive] - items[negative])).sum(1)
    norms = sum(v.square().sum() for v in (users[user], items[positive], items[negative]))
    plain = -difference.sigmoid().log().mean() + 0.15 * norms / len(user)
    torch.manual_seed(3)
    assert model.calculate_loss(batch).item() == pytest.approx(plain.item(), rel=1e-4)


def test_pinsage_by_dense_layers(build):
    model, _ = build("PinSage", n_layers=2)
    hidden, p = ego(model), mean_over_neighbours(model)
    for inner, outer in zip(model.inner, model.outer, strict=True):
        near = p @ inner(hidden).clamp_min(0)
        hidden = outer(torch.cat((hidden, near), 1)).clamp_min(0)
        hidden = hidden / hidden.norm(dim=1, keepdim=True).clamp_min(1e-12)
    expected = model.hidden(hidden).clamp_min(0) @ model.readout.weight.T
    torch.testing.assert_close(vectors(model), expected, rtol=1e-4, atol=1e-5)
