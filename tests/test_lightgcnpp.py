"""LightGCN++ against dense matrices, under BPR and under BSL's loss."""

import pytest
import torch
from reference import close, vectors

SETTINGS = {"norm_power": 0.6, "neighbour_power": -0.1, "ego_weight": 0.3}


def published(model, n_layers=2):
    """Returns the vectors of all nodes with the settings above, from dense matrices."""
    ego = torch.cat((model.user_embedding.weight, model.item_embedding.weight))
    a = (model.graph.normalized().to_dense() > 0).float()
    degree = a.sum(1).clamp_min(1)
    a = degree[:, None] ** -0.6 * a * degree**0.1
    x, layers = ego, []
    for _ in range(n_layers):
        x = a @ (x / (x.norm(dim=1, keepdim=True) + 1e-12))
        layers.append(x)
    return 0.3 * ego + 0.7 * sum(layers) / n_layers


def close_gradients(model, found, expected, *upstream):
    """Asserts that two results have the same gradients of both tables."""
    pairs = (torch.autograd.grad(y, model.tables(), *upstream) for y in (found, expected))
    for ours, slow in zip(*pairs, strict=True):
        close(ours, slow)


@pytest.mark.parametrize(
    ("name", "changes"), [("LightGCN++", {}), ("LightGCN++-BSL", {"rank_by": "product"})]
)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_vectors_and_their_gradient_by_dense_layers(build, name, changes, n_layers):
    model, _ = build(name, n_layers=n_layers, **changes, **SETTINGS)
    found, expected = vectors(model), published(model, n_layers)
    close(found, expected)
    close_gradients(model, found, expected, torch.randn(found.shape))


def test_loss_is_bpr_and_l2_of_layer_0(build):
    model, batch = build("LightGCN++", n_layers=2, reg_weight=0.2, **SETTINGS)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    users, items = published(model).split((model.n_users, model.n_items))
    negative = negative[:, 0]
    margin = (users[user] * (items[positive] - items[negative])).sum(1)
    rows = (
        model.user_embedding(user),
        model.item_embedding(positive),
        model.item_embedding(negative),
    )
    l2 = sum(row.square().sum() for row in rows) / 2 / len(user)
    expected = -margin.sigmoid().log().mean() + 0.2 * l2
    torch.manual_seed(3)
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    close_gradients(model, found, expected)


def test_bsls_loss_on_these_vectors(build):
    changes = {"rivals": "batch", "tau": 0.2, "power": 1.2, "reg_weight": 0.0, "n_layers": 2}
    model, batch = build("LightGCN++-BSL", **SETTINGS, **changes)
    user, item = model.positives(batch)
    users, items = published(model).split((model.n_users, model.n_items))
    u, i = (x / x.norm(dim=1, keepdim=True) for x in (users[user], items[item]))
    logits = u @ i.T / 0.2
    own = logits.diagonal()
    rivals = logits.masked_fill(torch.eye(len(user), dtype=torch.bool), -torch.inf)
    expected = (1.2 * rivals.logsumexp(1) - own).mean()
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    close_gradients(model, found, expected)
