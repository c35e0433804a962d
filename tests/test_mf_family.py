"""The matrix factorisation family: losses by hand, and models that must coincide."""

import numpy as np
import pytest
import torch
from conftest import tiny_settings

from recbole_hill.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.factorization import MatrixFactorization
from recbole_hill.model.losses import bpr, cosine_contrastive, sampled_softmax, squared_l2
from recbole_hill.quick_start import build_model


@pytest.fixture
def build(tiny_path, tmp_path):
    """Builds a model with the weights of the seed, in training mode, and a batch."""

    def build(name: str, **changes):
        settings = tiny_settings(tiny_path, name, run_dir=str(tmp_path), init_std=0.5, **changes)
        config = HillConfig(name, "tiny", None, settings)
        data = load_data(config)
        return build_model(config, data).train(), next(iter(data.train))

    return build


def loss(model, batch, seed=3):
    torch.manual_seed(seed)
    return model.calculate_loss(batch)


def test_losses_by_hand():
    positive, negative = torch.tensor([0.5, 1.5]), torch.tensor([[0.2, 0.9], [0.8, -1.0]])
    found = cosine_contrastive(positive, negative, margin=0.4, weight=3.0)
    # (1 - .5) + 3 (0 + .5) / 2 = 1.25;  0 + 3 (.4 + 0) / 2 = .6
    assert found.item() == pytest.approx((1.25 + 0.6) / 2)
    rows = torch.cat((positive.unsqueeze(1), negative), 1).double().numpy()
    expected = -np.log(np.exp(rows[:, 0]) / np.exp(rows).sum(1)).mean()
    assert sampled_softmax(positive, negative).item() == pytest.approx(expected, rel=1e-6)
    single = sampled_softmax(positive, negative[:, :1])
    assert single.item() == pytest.approx(bpr(positive, negative[:, 0]).item())
    ones = torch.ones(2, 3)
    assert squared_l2(ones, 2 * ones).item() == pytest.approx((6 + 24) / 2 / 2)


@pytest.mark.parametrize("n", [1, 4])
def test_bpr_of_a_draw_by_loop(build, n):
    model, batch = build("GRMF", n_negatives=n, reg_weight=0.3, graph_weight=0.0)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    p, q = (t.detach().double().numpy() for t in model.user_item_embeddings())
    total, norms = [], []
    for u, i, others in zip(user.tolist(), positive.tolist(), negative.tolist(), strict=True):
        total += [np.log1p(np.exp(p[u] @ q[j] - p[u] @ q[i])) for j in others]
        norms.append(sum((v**2).sum() for v in (p[u], q[i], *(q[j] for j in others))) / 2)
    expected = np.mean(total) + 0.3 * np.mean(norms)
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["GRMF", "GRMF-norm"])
def test_grmf_adds_the_laplacian_of_observed_pairs(build, name):
    model, batch = build(name, graph_weight=0.7, positive_order="interaction")
    plain, _ = build(name, graph_weight=0.0, positive_order="interaction")
    user, item = batch["user_id"], batch["item_id"]
    p, q = (t.detach() for t in model.user_item_embeddings())
    left, right = p[user], q[item]
    if name == "GRMF-norm":
        degree = model.sampler.counts[user].float()
        times = torch.tensor([(model.sampler.keys % model.n_items == i).sum() for i in item])
        left, right = left / degree.sqrt()[:, None], right / times.sqrt()[:, None]
    expected = 0.7 * (left - right).square().sum(1).mean()
    difference = loss(model, batch) - loss(plain, batch)
    assert difference.item() == pytest.approx(expected.item(), rel=1e-4)


def test_grmf_without_its_term_is_bpr(build):
    model, batch = build("GRMF", graph_weight=0.0)
    torch.manual_seed(3)
    expected = MatrixFactorization.embedding_loss(model, *model.user_item_embeddings(), batch)
    assert loss(model, batch).item() == expected.item()


def test_simplex_of_own_vectors_alone_is_mf_ccl(build):
    changes = {"n_negatives": 7, "margin": 0.1, "negative_weight": 5, "dropout_rate": 0.2}
    changes |= {"reg_weight": 0.01}
    simplex, batch = build("SimpleX", gamma=1.0, **changes)
    plain, _ = build("MF-CCL", **changes)
    shared = {name: simplex.state_dict()[name] for name in plain.state_dict()}
    plain.load_state_dict(shared)
    assert loss(simplex, batch).item() == loss(plain, batch).item()
    for ours, theirs in zip(
        simplex.user_item_embeddings(), plain.user_item_embeddings(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("aggregator", ["mean", "user_attention"])
def test_simplex_aggregates_the_history_without_the_target(build, aggregator, share):
    model, batch = build("SimpleX", aggregator=aggregator, share_embedding=share)
    users, items = batch["user_id"][:6], batch["item_id"][:6]
    table = (model.item_embedding if share else model.history_embedding).weight
    found = model.aggregate(users, items)
    matrix = model.sampler
    for row, (user, item) in enumerate(zip(users, items, strict=True)):
        keys = matrix.keys[matrix.keys // matrix.n_items == user] % matrix.n_items
        history = table[keys[keys != item]]
        weights = torch.ones(len(history))
        if aggregator == "user_attention":
            weights = (model.key(history).tanh() @ model.user_embedding.weight[user]).exp()
        expected = model.value((weights / weights.sum()) @ history)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


def test_youtubenet_leaves_the_target_out(build):
    changes = {"n_negatives": 3, "reg_weight": 0.1, "train_batch_size": 16}
    model, batch = build("YouTubeNet", **changes)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    q = model.item_embedding.weight.detach()
    sampler, losses = model.sampler, []
    for u, i, others in zip(user, positive, negative, strict=True):
        keys = sampler.keys[sampler.keys // sampler.n_items == u] % sampler.n_items
        mean = q[keys[keys != i]].mean(0)
        logits = q[torch.cat((i.view(1), others))] @ mean
        losses.append(-logits.log_softmax(0)[0])
    expected = torch.stack(losses).mean() + 0.05 * q.square().sum()
    assert loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    whole = model.user_item_embeddings()[0]
    keys = sampler.keys[sampler.keys // sampler.n_items == 5] % sampler.n_items
    torch.testing.assert_close(whole[5], q[keys].mean(0))
