"""EGCF against the formulas of its authors, computed on dense matrices."""

import pytest
import torch
from reference import close, vectors


def published(model, n_layers, aggregation):
    """Returns the vectors of users and items, layer by layer, from dense matrices."""
    n_users, v = model.n_users, model.item_embedding.weight
    a = model.graph.normalized().to_dense()
    r = a[:n_users, n_users:]
    if aggregation == "parallel":
        x, layers = torch.cat((torch.tanh(r @ v), v)), []
        for _ in range(n_layers):
            x = torch.tanh(a @ x)
            layers.append(x)
        return sum(layers)
    users, items = [], []
    for _ in range(n_layers):
        users.append(torch.tanh(r @ v))
        v = torch.tanh(r.T @ users[-1])
        items.append(v)
    return torch.cat((sum(users), sum(items)))


def grown(build, **changes):
    """Returns EGCF with embeddings so large that tanh bends them, and a batch."""
    model, batch = build("EGCF", **changes)
    torch.nn.init.normal_(model.item_embedding.weight)
    return model, batch


@pytest.mark.parametrize("aggregation", ["parallel", "alternating"])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_vectors_and_their_gradient_by_dense_layers(build, n_layers, aggregation):
    model, _ = grown(build, n_layers=n_layers, aggregation=aggregation)
    found, expected = vectors(model), published(model, n_layers, aggregation)
    close(found, expected)
    upstream = torch.randn(found.shape)
    table = model.item_embedding.weight
    close(*(torch.autograd.grad(y, table, upstream)[0] for y in (found, expected)))


def test_loss_and_its_gradient_by_the_plain_matrices(build):
    weights = {"ssl_weight": 0.7, "ssl_tau": 0.3, "reg_weight": 0.2}
    model, batch = grown(build, **weights)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    assert len(user.unique()) < len(user) and len(positive.unique()) < len(positive)
    users, items = published(model, 3, "parallel").split((model.n_users, model.n_items))
    u, i, j = users[user], items[positive], items[negative[:, 0]]
    expected = -torch.log(((u * i).sum(1) - (u * j).sum(1)).sigmoid()).mean()
    u, i = (x / x.norm(dim=1, keepdim=True) for x in (u, i))
    for first, second in ((u, u), (i, i), (u, i)):
        shares = (first @ second.T / 0.3).softmax(1).diagonal()
        expected = expected - 0.7 * torch.log(shares + 1e-5).mean()
    rows = model.item_embedding(positive), model.item_embedding(negative[:, 0])
    expected = expected + 0.2 * sum(row.square().sum() for row in rows) / 2 / len(user)
    torch.manual_seed(3)
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    table = model.item_embedding.weight
    close(*(torch.autograd.grad(loss, table)[0] for loss in (found, expected)))


def test_a_share_of_nothing_costs_no_more_than_its_bound(build):
    """Where user and item point apart, the third term ends at -ln 1e-5; the first two are 0."""
    model, _ = build("EGCF", ssl_tau=0.025)
    users, items = torch.eye(2), -torch.eye(2)
    ids = torch.arange(2)
    found = model.contrast(users, items, ids, ids)  # a share of exp(-40)
    assert found.item() == pytest.approx(11.512925 - 2 * 1e-5, abs=1e-4)


def test_users_have_no_table(build):
    model, _ = build("EGCF", embedding_size=8)
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {
        "item_embedding.weight": (model.n_items, 8)
    }
    bound = (6 / (model.n_items + 8)) ** 0.5  # Xavier's
    assert 0.9 * bound < model.item_embedding.weight.abs().max() <= bound
