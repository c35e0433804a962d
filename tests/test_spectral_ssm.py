"""SpectralSSM: its scores, its loss and what the loss leaves out, against dense references."""

import numpy as np
import pytest
import torch
from conftest import tiny_settings
from recbole.data.interaction import Interaction
from tiny_models import MODELS

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.bases.spectral import Smoother
from recbole_hill.model.build import build_model

_RANK, _B, _WEIGHT, _GAIN, _TAU = 5, 0.4, 0.7, 3.0, 0.2


@pytest.fixture
def build(tiny_path, tmp_path):
    """Builds the model on the planted data, its filter found."""

    def make(**changes):
        settings = {
            **MODELS["SpectralSSM"][1],
            "spectral_rank": _RANK,
            "svd_iterations": 30,
            "degree_power": _B,
            "spectral_weight": _WEIGHT,
            "spectral_gain": _GAIN,
            "tau": _TAU,
            "run_dir": str(tmp_path),
            **changes,
        }
        config = HillConfig(
            "SpectralSSM", "tiny", None, tiny_settings(tiny_path, "SpectralSSM", **settings)
        )
        model = build_model(config, load_data(config))
        model.begin_epoch(0)
        return model

    return make


def dense_filter(model) -> tuple[np.ndarray, np.ndarray]:
    """Returns f(u, i) by an eigendecomposition, (U, I), and V, (I, K)."""
    matrix = model.history.toarray().astype(np.float64)
    users, items = matrix.sum(1), matrix.sum(0)
    inverse_root = [np.where(d > 0, np.maximum(d, 1) ** -0.5, 0) for d in (users, items)]
    normalised = inverse_root[0][:, None] * matrix * inverse_root[1]
    basis = np.linalg.eigh(normalised.T @ normalised)[1][:, -_RANK:]
    after = np.where(items > 0, np.maximum(items, 1) ** _B, 0)
    before = np.where(items > 0, np.maximum(items, 1) ** -_B, 0)
    return matrix @ (before[:, None] * (basis @ basis.T) * after), basis


def deviations(filtered: np.ndarray) -> np.ndarray:
    return filtered[:, 1:].std(axis=1, ddof=1, keepdims=True)


def batch_of(model, n: int = 40):
    users, items = model.history.nonzero()
    chosen = np.random.default_rng(0).choice(len(users), n, replace=False)
    return Interaction(
        {
            model.USER_ID: torch.from_numpy(users[chosen]).long(),
            model.ITEM_ID: torch.from_numpy(items[chosen]).long(),
        }
    )


def cosines(model) -> np.ndarray:
    nodes = np.concatenate(
        [
            table.weight.detach().double().numpy()
            for table in (model.user_embedding, model.item_embedding)
        ]
    )
    graph, layers = model.graph.normalized().to_dense().double().numpy(), [nodes]
    for _ in range(model.n_layers):
        layers.append(graph @ layers[-1])
    users, items = np.split(np.mean(layers, axis=0), [model.n_users])
    users, items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (users, items))
    return users @ items.T


@pytest.mark.parametrize("n_layers", [0, 2])
@pytest.mark.parametrize(("training", "gain"), [(True, 1.0), (False, _GAIN)])
def test_scores_are_the_standardised_filter_and_cosines(build, training, gain, n_layers):
    model = build(n_layers=n_layers)
    model.train(training)
    users, items = model.user_item_embeddings()
    filtered, _ = dense_filter(model)
    active = np.flatnonzero(model.history.sum(1).A1)
    expected = gain * _WEIGHT * filtered[active] / deviations(filtered[active])
    expected += cosines(model)[active] / _TAU
    found = (users @ items.T).detach().numpy()[active]
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("rivals", ["batch", "corrected"])
def test_loss_equals_a_loop(build, rivals):
    model = build(rivals=rivals, reg_weight=0.0)
    model.train()
    batch = batch_of(model)
    users, items = batch[model.USER_ID].numpy(), batch[model.ITEM_ID].numpy()
    filtered, basis = dense_filter(model)
    scale = _WEIGHT / deviations(filtered)[:, 0]
    cosine = cosines(model) / _TAU
    has = model.history.toarray() > 0
    popularity = has.sum(0) / has.sum(0)[1:].mean()
    losses = []
    for user, positive in zip(users, items, strict=True):
        own = filtered[user, positive] - (basis[positive] ** 2).sum()
        own = scale[user] * own + cosine[user, positive]
        total = 0.0
        for rival in items:  # as often as they occur, the user's others left out
            weight = 1 / popularity[rival] if rivals == "corrected" else 1.0
            if rival == positive:
                total += weight * np.exp(own)
            elif not has[user, rival]:
                rate = scale[user] * filtered[user, rival] + cosine[user, rival]
                total += weight * np.exp(rate)
        losses.append(np.log(total) - own)
    assert model.calculate_loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_what_is_taken_off_is_what_the_interaction_put_there(build):
    """The score with the user's row as it is, less the one without the pair, V being kept."""
    model = build()
    batch = batch_of(model, 12)
    user, item = batch[model.USER_ID], batch[model.ITEM_ID]
    _, items, scale = model.filter()
    degree = np.maximum(model.history.sum(0).A1, 1)
    before = torch.from_numpy(degree**-_B).float().unsqueeze(1) * model.vectors_of_items
    rows = torch.from_numpy(model.history[user.numpy()].toarray())
    without = rows.clone()
    without[torch.arange(len(item)), item] = 0
    difference = (((rows - without) @ before) * items[item]).sum(1)
    torch.testing.assert_close(
        model.own_share(user, item), _WEIGHT * scale[user] * difference, rtol=1e-4, atol=1e-6
    )


def test_both_ways_to_the_loss_agree_in_value_and_gradient(build):
    model = build(reg_weight=0.1)
    model.train()
    batch = batch_of(model)
    found = []
    for loss in (
        lambda: model.calculate_loss(batch),
        lambda: model.embedding_loss(*model.user_item_embeddings(), batch),
    ):
        model.zero_grad()
        value = loss()
        value.backward()
        found.append((value.detach(), *(p.grad.clone() for p in model.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_half_precision_of_the_filter_stays_close(build):
    model = build()
    model.train()
    batch = batch_of(model)
    exact = model.calculate_loss(batch)
    model.precision = torch.bfloat16
    assert model.calculate_loss(batch).item() == pytest.approx(exact.item(), rel=0.01)


def test_weights_hold_the_filter(build, monkeypatch):
    first = build(seed=3)
    first.eval()
    monkeypatch.setattr(Smoother, "leading", None)  # a second decomposition would fail
    first.train()
    state = {key: value.clone() for key, value in first.state_dict().items()}
    expected = [x.clone() for x in first.eval().vectors()]
    monkeypatch.undo()
    other = build(seed=4)
    other.eval().vectors()
    monkeypatch.setattr(Smoother, "leading", None)
    other.load_state_dict(state)
    for found, wanted in zip(other.vectors(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_training_moves_the_tables_and_not_the_filter(build):
    model = build()
    model.train()
    before = model.filter()[1].clone()
    model.calculate_loss(batch_of(model)).backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        "user_embedding.weight",
        "item_embedding.weight",
    }
    torch.testing.assert_close(model.filter()[1], before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"spectral_rank": 0},
        {"spectral_rank": 48},
        {"svd_iterations": -1},
        {"tau": 0},
        {"rivals": "uniform"},
        {"softmax_precision": "float8"},
    ],
)
def test_bad_settings_are_named(build, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        build(**changes)
