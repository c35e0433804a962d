"""NESCL as a whole: its loss from its parts, its neighbours, its settings."""

from itertools import combinations

import pytest
import torch
from reference import noting

from recbole_hill.data.splits import load_data
from recbole_hill.model import nescl
from recbole_hill.model.build import build_model
from recbole_hill.model.losses import batch_norms, bpr
from recbole_hill.model.nescl import NESCL


@pytest.fixture
def made(tiny_config):
    def make(**overrides):
        config = tiny_config("NESCL", **overrides)
        data = load_data(config)
        model = build_model(config, data)
        return model, next(iter(data.train))

    return make


def dense_vectors(model: NESCL):
    a = model.graph.normalized().to_dense()
    x = torch.cat((model.user_embedding.weight, model.item_embedding.weight))
    layers = [x]
    for _ in range(model.n_layers):
        layers.append(a @ layers[-1])
    z = sum(layers[0 if model.with_ego else 1 :]) / (model.n_layers + model.with_ego)
    return z[: model.n_users], z[model.n_users :]


@pytest.mark.parametrize("with_ego", [True, False])
def test_vectors_are_lightgcns(made, with_ego):
    model, _ = made(with_ego=with_ego)
    for fast, slow in zip(model.user_item_embeddings(), dense_vectors(model), strict=True):
        torch.testing.assert_close(fast, slow)


def test_warmup_is_bpr_alone_then_contrast_joins(made):
    model, batch = made(ssl_warmup_epochs=2, ssl_weight=0.5)
    users, items = model.user_item_embeddings()
    u, i, j = (batch[key] for key in ("user_id", "item_id", "neg_item_id"))
    scores = ((users[u] * items[i]).sum(1), (users[u] * items[j]).sum(1))
    embeddings = (model.user_embedding(u), model.item_embedding(i), model.item_embedding(j))
    ranking = bpr(*scores) + model.reg_weight * batch_norms(*embeddings)
    model.begin_epoch(1)
    torch.testing.assert_close(model.calculate_loss(batch), ranking)
    model.begin_epoch(2)
    torch.manual_seed(5)
    whole = model.calculate_loss(batch)
    torch.manual_seed(5)
    torch.testing.assert_close(whole, ranking + 0.5 * model.contrast_loss(u, i))


def test_amazon_form_has_no_bpr_and_no_norms(made):
    model, batch = made(use_bpr=False, ssl_warmup_epochs=0, dropout_kind="edge", ssl_form="in")
    torch.manual_seed(5)
    loss = model.calculate_loss(batch)
    torch.manual_seed(5)
    contrast = model.contrast_loss(batch["user_id"], batch["item_id"])
    torch.testing.assert_close(loss, model.ssl_weight * contrast)


@pytest.mark.parametrize("kind", ["node", "edge"])
def test_every_batch_has_two_views_of_its_own(made, monkeypatch, kind):
    model, batch = made(dropout_kind=kind, dropout_rate=0.3, ssl_warmup_epochs=0)
    drawn = noting(monkeypatch, model.graph, f"drop_{kind}s")
    contrasts = noting(monkeypatch, nescl, "neighbour_contrast")
    for _ in range(2):
        model.calculate_loss(batch)
    views = [view for first, second, *_ in contrasts for view in (first, second)]
    assert drawn == [(0.3,)] * 4 and len(views) == 4
    assert not any(torch.equal(one, other) for one, other in combinations(views, 2))


@pytest.mark.parametrize("draw", ["uniform", "similarity"])
def test_neighbours_are_drawn_as_asked(made, draw):
    from recbole_hill.data.neighbours import nearest_neighbours

    model, _ = made(neighbour_draw=draw, n_neighbours=3)
    matrix = load_matrix(model)
    ids, similarity = nearest_neighbours(matrix, 3)
    torch.manual_seed(0)
    user = 5
    drawn = model.draw_neighbours(torch.full((20_000,), user))
    share = torch.tensor([(drawn == n).float().mean() for n in ids[user]])
    weights = torch.tensor(similarity[user] if draw == "similarity" else [1.0, 1.0, 1.0])
    torch.testing.assert_close(share, weights / weights.sum(), atol=0.015, rtol=0)


def load_matrix(model):
    import scipy.sparse as sp

    dense = model.graph.normalized().to_dense()[: model.n_users, model.n_users :]
    return sp.csr_matrix((dense > 0).float().numpy())


def test_a_node_without_neighbours_is_its_own(made):
    model, _ = made()
    padding = torch.tensor([0, model.n_users])
    assert torch.equal(model.draw_neighbours(padding), padding)


def test_items_draw_items_and_users_draw_users(made):
    model, _ = made()
    nodes = torch.arange(model.n_users + model.n_items)
    drawn = model.draw_neighbours(nodes)
    assert torch.equal(drawn < model.n_users, nodes < model.n_users)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ssl_form": "mean"}, "ssl_form must be one of in, out, got 'mean'"),
        ({"dropout_kind": "walk"}, "dropout_kind must be one of node, edge"),
        ({"ssl_precision": "float16"}, "ssl_precision must be one of float32, bfloat16"),
        ({"ssl_tau": 0.01}, "ssl_tau must be at least 0.025"),
        ({"dropout_rate": 1.0}, r"dropout_rate must be a number in \[0, 1\)"),
        ({"n_neighbours": 0}, "n_neighbours must be an integer >= 1"),
    ],
)
def test_settings_are_checked(made, change, message):
    with pytest.raises(ValueError, match=message):
        made(**change)
