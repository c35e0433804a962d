"""The matrix factorisation family: losses by hand, and models that must coincide."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_settings
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.bpr import BPR as RecBoleBPR
from recbole.model.loss import BPRLoss
from reference import noting
from scipy.stats import chisquare

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.host.dropout import dropout
from recbole_hill.model.baselines.bsl import pooled
from recbole_hill.model.baselines.ultragcn import item_neighbours, limit_weights
from recbole_hill.model.bases.factorization import (
    MANY,
    MatrixFactorization,
    SampledScores,
    scores_of,
)
from recbole_hill.model.build import build_model
from recbole_hill.model.losses import bpr, cosine_contrastive, sampled_softmax, squared_l2
from recbole_hill.train.trainer import trainer_for


@pytest.fixture
def build(build):
    """With tables large enough that every part of a loss shows."""
    return partial(build, init_std=0.5)


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


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("name", ["MF-CCL", "SimpleX"])
def test_the_cosine_contrastive_loss_of_a_model(build, name, rate):
    """(1 - c+)_+ + w mean_n (c- - m)_+ over the rows, and half the tables' squares (Eq. 1).

    Dropout comes after the user vector is scaled, and what it leaves is not scaled again.
    """
    changes = {"n_negatives": 7, "margin": 0.1, "negative_weight": 5, "dropout_rate": rate}
    model, batch = build(name, **changes, reg_weight=0.01, init_std=0.5, train_batch_size=16)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    p, q = model.user_embedding.weight.detach(), model.item_embedding.weight.detach()
    kept = dropout(torch.ones_like(p[user]), rate)
    total = 0
    for u, i, others, left in zip(user, positive, negative, kept, strict=True):
        query = p[u]
        if name == "SimpleX":
            history = model.aggregate(u[None], i[None])[0].detach()
            query = model.gamma * query + (1 - model.gamma) * history
        near = q[torch.cat((i[None], others))]
        cosines = (near / near.norm(dim=1, keepdim=True)) @ (left * query / query.norm())
        total += max(0, 1 - cosines[0]) + 5 * (cosines[1:] - 0.1).clamp_min(0).mean()
    squares = sum(table.square().sum() for table in model.tables())
    expected = (total / len(user) + 0.005 * squares).item()
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["MF-CCL", "SimpleX", "YouTubeNet"])
def test_the_batchs_users_alone_are_enough(build, name):
    """``calculate_loss``, which makes no other vector, is ``embedding_loss`` with its gradients."""
    changes = {} if name == "YouTubeNet" else {"dropout_rate": 0.2}
    model, batch = build(name, n_negatives=7, init_std=0.5, train_batch_size=16, **changes)
    found = []
    for compute in (
        lambda: model.calculate_loss(batch),
        lambda: model.embedding_loss(*model.user_item_embeddings(), batch),
    ):
        torch.manual_seed(3)
        model.zero_grad()
        value = compute()
        value.backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append([value.detach(), *gradients])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("aggregator", ["mean", "user_attention"])
def test_simplex_starts_from_xaviers_spread_whatever_the_aggregator(build, aggregator):
    model, _ = build("SimpleX", aggregator=aggregator, embedding_size=96)
    assert hasattr(model, "key") == (aggregator == "user_attention")
    layers = [model.value, *([model.key] if hasattr(model, "key") else [])]
    for layer in layers:
        weights = layer.weight.detach()
        assert weights.std().item() == pytest.approx(96**-0.5, rel=0.05)
        assert weights.abs().max() > 3 * 96**-0.5  # normal: nn.Linear's own are within 1
    if aggregator == "user_attention":
        assert not model.key.bias.any()


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


@pytest.mark.parametrize("length", [1, 12, 810])
def test_simplex_pads_histories_within_the_softmax(build, length):
    """Beside the authors' way: a table of the histories, padded by zero vectors of logit 0."""
    model, batch = build("SimpleX", aggregator="user_attention", attention_padding=length)
    users, items = batch["user_id"][:6], batch["item_id"][:6]
    matrix, table = model.sampler, model.item_embedding.weight
    whole = [matrix.keys[matrix.keys // matrix.n_items == user] % matrix.n_items for user in users]
    assert min(map(len, whole)) > 2
    for found, histories in (
        (model.aggregate(users, items), [k[k != i] for k, i in zip(whole, items, strict=True)]),
        (model.aggregate(users), whole),
    ):
        for row, history in enumerate(histories):
            padded = torch.zeros(max(length, len(history)), table.shape[1])
            padded[: len(history)] = table[history]
            logits = model.key(padded).tanh() @ model.user_embedding.weight[users[row]]
            logits[len(history) :] = 0
            expected = model.value(logits.softmax(0) @ padded)
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-6)


def test_simplex_s_l2_is_over_the_histories_table_too(build):
    for share, names in ((True, ("user", "item")), (False, ("user", "item", "history"))):
        model, _ = build("SimpleX", share_embedding=share, reg_weight=0.4)
        tables = [getattr(model, f"{name}_embedding").weight for name in names]
        expected = 0.2 * sum(table.square().sum() for table in tables)
        torch.testing.assert_close(model.tables_l2(), expected)


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


@pytest.mark.parametrize("share", [1.0, 0.1, 0.0])  # of the scores that are in the loss
@pytest.mark.parametrize("n", [1, 5, MANY])
def test_sampled_scores_and_their_gradients(n, share, monkeypatch):
    monkeypatch.setattr(SampledScores, "cpu_block", 3 * n)  # several blocks, the last one short
    torch.manual_seed(0)
    users, items = torch.randn(10, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    drawn, weights = torch.randint(7, (10, n)), torch.randn(10, n)
    weights[torch.rand(10, n) >= share] = 0
    plain = scores_of(users, items[drawn])
    found = SampledScores.apply(users, items, drawn)
    torch.testing.assert_close(found, plain)
    expected = torch.autograd.grad((plain * weights).sum(), (users, items))
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (users, items)), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("share", [1.0, 0.1])
@pytest.mark.parametrize("n", [5, MANY])
def test_sampled_scores_of_half_precision(n, share):
    torch.manual_seed(0)
    users, items = torch.randn(10, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
    drawn, weights = torch.randint(7, (10, n)), torch.randn(10, n)
    weights[torch.rand(10, n) >= share] = 0
    expected = torch.autograd.grad((scores_of(users, items[drawn]) * weights).sum(), (users, items))
    with torch.autocast("cpu", torch.bfloat16):
        total = (SampledScores.apply(users, items, drawn) * weights).sum()
    for ours, theirs in zip(torch.autograd.grad(total, (users, items)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_l2_of_many_draws_counts_each_occurrence(build):
    model, batch = build("BPR", n_negatives=50, train_batch_size=16)
    user, positive, negative = model.draw(batch)
    assert negative.numel() > model.n_items
    rows = model.user_embedding(user), model.item_embedding(positive)
    expected = squared_l2(*rows, model.item_embedding(negative))
    torch.testing.assert_close(model.batch_l2(user, positive, negative), expected)


def test_bpr_with_one_negative_is_recboles(build):
    ours, batch = build("BPR", n_negatives=1, reg_weight=0.0, clip_grad_norm=None)
    torch.manual_seed(3)
    user, positive, negative = ours.draw(batch)
    theirs = RecBoleBPR.__new__(RecBoleBPR)
    torch.nn.Module.__init__(theirs)
    theirs.USER_ID, theirs.ITEM_ID, theirs.NEG_ITEM_ID = "user_id", "item_id", "neg_item_id"
    theirs.user_embedding, theirs.item_embedding = ours.user_embedding, ours.item_embedding
    theirs.loss = BPRLoss()
    drawn = {"user_id": user, "item_id": positive, "neg_item_id": negative[:, 0]}
    expected = theirs.calculate_loss(Interaction(drawn)).item()
    assert loss(ours, batch).item() == pytest.approx(expected, rel=1e-5)


def test_bpr_s_l2_is_over_the_batch_or_the_tables(build):
    changes = {"n_negatives": 3, "train_batch_size": 16, "init_std": 0.5}
    weight = 0.3
    plain, batch = build("BPR", reg_weight=0.0, **changes)
    for over in ("batch", "tables"):
        model, _ = build("BPR", reg_weight=weight, reg_over=over, **changes)
        model.load_state_dict(plain.state_dict())
        added = loss(model, batch).item() - loss(plain, batch).item()
        torch.manual_seed(3)  # as in ``loss``
        user, positive, negative = model.draw(batch)
        users, items = model.user_embedding.weight, model.item_embedding.weight
        parts = users[user], items[positive], items[negative]
        expected = sum(part.square().sum() for part in parts) / 2 / len(user)
        if over == "tables":
            expected = (users.square().sum() + items.square().sum()) / 2
        assert added == pytest.approx(weight * expected.item(), rel=1e-4)


def test_grmf_without_its_term_is_the_bpr_row(build):
    changes = {"n_negatives": 4, "reg_weight": 0.2, "positive_order": "interaction"}
    changes |= {"reject_positives": True, "train_batch_size": 64}
    grmf, batch = build("GRMF", graph_weight=0.0, **changes)
    plain, _ = build("BPR", reg_over="batch", **changes)
    plain.load_state_dict(grmf.state_dict())
    assert loss(grmf, batch).item() == loss(plain, batch).item()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_enmf_is_the_loss_over_every_pair(build, rate, training):
    """The dropped-out user is in both sums; ranking drops nothing."""
    model, batch = build("ENMF", dropout_rate=rate, negative_weight=0.3, train_batch_size=7)
    model.train(training)
    assert set(batch.interaction) == {"user_id"}
    model.weight.data.uniform_(0.5, 1.5)
    p, q, h = (
        t.detach().double().numpy()
        for t in (model.user_embedding.weight, model.item_embedding.weight, model.weight)
    )
    crow, col = model.graph.crow.tolist(), model.graph.col - model.n_users
    users = sorted(set(batch["user_id"].tolist()) - {0})
    torch.manual_seed(3)
    kept = dropout(torch.ones(len(users), p.shape[1]), rate, training)
    expected = 0.0
    for u, left in zip(users, kept.numpy(), strict=True):
        own = set(col[crow[u] : crow[u + 1]].tolist())
        for i in range(1, model.n_items):
            score = h @ (left * p[u] * q[i])
            # 1 (1 - s)^2 of an item of u, w (0 - s)^2 of another, less the constant 1.
            expected += (1 - score) ** 2 - 1 if i in own else 0.3 * score**2
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-4)


def test_enmf_batches_cover_every_user_once(build, tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "ENMF", run_dir=str(tmp_path), train_batch_size=7)
    data = load_data(HillConfig("ENMF", "tiny", None, settings))
    users = torch.cat([batch["user_id"] for batch in data.train])
    assert sorted(users.tolist()) == list(range(data.dataset.user_num))


def test_adagrad_starts_where_it_is_told(tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "ENMF", run_dir=str(tmp_path), adagrad_start=0.25)
    config = HillConfig("ENMF", "tiny", None, settings)
    trainer = trainer_for(config, build_model(config, load_data(config)))
    assert all((s["sum"] == 0.25).all() for s in trainer.optimizer.state.values())


def test_hop_rec_steps_by_hand(build):
    model, _ = build("HOP-Rec", user_decay=0.1, item_decay=0.01)
    user, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.4, 1.0]])
    # Differences .2, .4, .6 at hop 2, whose margin is 1/2: the third is left alone.
    negative = torch.tensor([[[0.2, 0.0], [0.0, 0.5], [-0.2, 0.3]]])
    leaves = [t.requires_grad_() for t in (user, positive, negative)]
    steps = [-g for g in torch.autograd.grad(model.hop_loss(*leaves, hop=2), leaves)]
    u, i, j = (t.detach().double().numpy() for t in (user[0], positive[0], negative[0]))
    pull = 1 / (1 + np.exp(np.array([0.2, 0.4])))  # sigmoid(-x)
    of_user = (pull[:, None] * (i - j[:2])).mean(0) - 0.1 * u
    of_positive = pull.sum() * u - 2 * 0.01 * i  # moved twice, shrunk twice
    of_negative = np.vstack((-pull[:, None] * u - 0.01 * j[:2], np.zeros(2)))
    for step, expected in zip(steps, (of_user, of_positive, of_negative), strict=True):
        np.testing.assert_allclose(step.numpy().squeeze(0), expected / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("item", [1, 20])
def test_hop_rec_walks_uniformly_along_edges(build, item):
    model, _ = build("HOP-Rec")
    half, n = model.graph.n_edges, model.n_users
    matrix = np.zeros((n, model.n_items))
    matrix[model.graph.row[:half], model.graph.col[:half] - n] = 1
    # A user of the item, then an item of that user, each uniformly.
    of_users = matrix[:, item] / matrix[:, item].sum()
    expected = of_users @ (matrix / matrix.sum(1, keepdims=True).clip(1))
    torch.manual_seed(0)
    found = np.bincount(model.further(torch.full((40_000,), item)), minlength=model.n_items)
    assert not found[expected == 0].any()
    reached = expected > 0
    assert chisquare(found[reached], 40_000 * expected[reached]).pvalue > 1e-4


def test_hop_rec_sums_its_hops_with_negatives_of_their_own(build, monkeypatch):
    model, batch = build("HOP-Rec", n_hops=3)
    walked, further, hop_loss = [batch["item_id"]], model.further, model.hop_loss
    monkeypatch.setattr(model, "further", lambda items: walked.append(further(items)) or walked[-1])
    hops = noting(monkeypatch, model, "hop_loss")
    found = loss(model, batch)
    assert [hop for *_, hop in hops] == [1, 2, 3]
    for items, (user, positive, _, _) in zip(walked, hops, strict=True):
        assert torch.equal(user, model.user_embedding(batch["user_id"]))
        assert torch.equal(positive, model.item_embedding(items))
    first, second, third = (negative for _, _, negative, _ in hops)
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert found.item() == pytest.approx(sum(hop_loss(*of).item() for of in hops), rel=1e-6)


def test_cml_by_loop(build):
    model, batch = build("CML", n_negatives=5, margin=0.7, init_std=0.4)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    model.clip()
    p, q = model.user_embedding.weight.detach(), model.item_embedding.weight.detach()
    assert p.norm(dim=1).max() <= 1 + 1e-6 and q.norm(dim=1).max() <= 1 + 1e-6
    total = 0.0
    for u, i, others in zip(user, positive, negative, strict=True):
        near = (p[u] - q[i]).square().sum()
        far = (p[u] - q[others]).square().sum(1)
        violators = (0.7 + near - far > 0).sum()
        rank = violators / 5 * (model.n_items - 1)
        total += torch.log(rank + 1) * (0.7 + near - far.min()).clamp_min(0)
    torch.manual_seed(3)
    assert model.calculate_loss(batch).item() == pytest.approx(total.item(), rel=1e-4)


def test_cml_ranks_by_distance(build):
    model, _ = build("CML", init_std=0.4)
    users, items = model.user_item_embeddings()
    distance = torch.cdist(model.user_embedding.weight, model.item_embedding.weight)
    assert torch.equal((users @ items.T)[7].argsort(descending=True)[:9], distance[7].argsort()[:9])


def test_ultragcn_weights_are_the_dense_formulas():
    rng = np.random.default_rng(0)
    dense = (rng.random((12, 9)) < 0.6).astype(np.float32)
    dense[0] = dense[:, 0] = 0  # padding
    du, di = dense.sum(1), dense.sum(0)
    left, right = limit_weights(du, di)
    for u in range(1, 12):
        for i in range(1, 9):
            expected = np.sqrt(du[u] + 1) / du[u] / np.sqrt(di[i] + 1)
            assert left[u] * right[i] == pytest.approx(expected, rel=1e-6)
    common = dense.T @ dense
    sums = common.sum(1)
    omega = common * np.sqrt(sums + 1)[:, None] / np.maximum(sums, 1)[:, None]
    omega = omega / np.sqrt(sums + 1)[None]
    for block in (4, 100):
        ids, weights = item_neighbours(sp.csr_matrix(dense), 3, block=block)
        np.testing.assert_allclose(weights, -np.sort(-omega, 1)[:, :3], rtol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(omega, ids, 1), weights, rtol=1e-5)


def test_ultragcn_loss_by_loop(build):
    w1, w2, w3, w4 = weights = [0.1, 1.0, 0.2, 0.7]
    model, batch = build(
        "UltraGCN",
        pair_weights=weights,
        n_negatives=3,
        negative_weight=5.0,
        item_weight=0.4,
        norm_weight=0.01,
        n_neighbours=2,
        train_batch_size=16,
    )
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    p, q = (t.detach().double() for t in model.user_item_embeddings())

    def nll(score):
        return -torch.nn.functional.logsigmoid(score)

    expected = 0.005 * (p.square().sum() + q.square().sum())
    for u, i, others in zip(user, positive, negative, strict=True):
        a, b = model.of_user[u], model.of_item
        expected += (w1 + w2 * a * b[i]) * nll(p[u] @ q[i])
        expected += 5 * sum((w3 + w4 * a * b[j]) * nll(-(p[u] @ q[j])) for j in others) / 3
        for k, omega in zip(model.neighbours[i], model.omega[i], strict=True):
            expected += 0.4 * omega * nll(p[u] @ q[k])
    assert loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def bilateral_by_loop(model, user, positive, rivals_of, power):
    """-ln mean over the user's pairs of e^s + power ln sum over rivals of e^s, over the batch."""
    p, q = (
        torch.nn.functional.normalize(t.detach().double()) for t in model.user_item_embeddings()
    )
    losses = []
    for row, u in enumerate(user):
        own = positive[user == u] if model.pool_positives else positive[row : row + 1]
        near = (q[own] @ p[u] / model.tau).exp().mean().log()
        losses.append(power * (q[rivals_of(row)] @ p[u] / model.tau).logsumexp(0) - near)
    return torch.stack(losses).mean().item()


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("rank_by", ["cosine", "product"])
@pytest.mark.parametrize("name", ["MF-BSL", "LightGCN-BSL"])
def test_bsl_by_hand(build, name, rank_by, pool):
    changes = {"tau": 0.3, "power": 1.3, "reg_weight": 0.0, "dropout_rate": 0.0}
    changes |= {"pool_positives": pool, "rank_by": rank_by, "train_batch_size": 24}
    model, batch = build(name, rivals="uniform", n_negatives=6, **changes)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    expected = bilateral_by_loop(model, user, positive, lambda row: negative[row], 1.3)
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-5)
    model, batch = build(name, rivals="batch", **changes)
    user, positive = batch["user_id"], batch["item_id"]
    others = torch.arange(len(user))
    expected = bilateral_by_loop(model, user, positive, lambda row: positive[others != row], 1.3)
    assert loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rivals", ["batch", "uniform"])
def test_bsl_at_power_one_is_the_softmax_loss_less_its_positive(build, rivals):
    changes = {"tau": 0.3, "rivals": rivals, "n_negatives": 6, "reg_weight": 0.1}
    changes |= {"train_batch_size": 24, "reject_positives": False}
    bsl, batch = build("MF-BSL", power=1.0, pool_positives=False, dropout_rate=0.0, **changes)
    ssm, _ = build("MF-SSM", **changes)
    ssm.load_state_dict(bsl.state_dict())
    kept = {}
    plain = bsl.pair_losses
    bsl.pair_losses = lambda user, near, sums: (
        kept.update(near=near, sums=sums) or plain(user, near, sums)
    )
    without = loss(bsl, batch)
    near, sums = kept["near"], kept["sums"]
    if rivals == "batch":  # both sums hold the positive
        sums = (sums.exp() - near.exp()).log()
    expected = without - (sums - near).mean() + (torch.logaddexp(sums, near) - near).mean()
    assert loss(ssm, batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_pooled_positives():
    logits, user = torch.tensor([1.0, 2.0, 3.0, 50.0]), torch.tensor([4, 7, 4, 9])
    both = np.log((np.exp(1) + np.exp(3)) / 2)
    np.testing.assert_allclose(pooled(logits, user), [both, 2, both, 50], rtol=1e-5)


def test_pooled_positives_far_apart():
    """A group far below the batch's best logit keeps its own scale."""
    generator = torch.Generator().manual_seed(0)
    user = torch.randint(5, (60,), generator=generator)
    logits = 300.0 * user - 700 + torch.randn(60, generator=generator)
    logits.requires_grad_()
    found = pooled(logits, user)
    expected = torch.stack([logits.double()[user == u].exp().mean().log() for u in user])
    torch.testing.assert_close(found.double(), expected)
    gradients = (torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected))
    torch.testing.assert_close(*gradients)


def test_product_ranks_by_unscaled_vectors(build):
    model, _ = build("LightGCN-BSL", rank_by="product")
    users = model.eval().vectors()[0]
    assert users[1:].norm(dim=1).std() > 0.01
    model, _ = build("LightGCN-BSL", rank_by="cosine")
    torch.testing.assert_close(model.eval().vectors()[0][1:].norm(dim=1), torch.ones(80))
    with pytest.raises(ValueError, match="rank_by must be one of cosine, product, got 'dot'"):
        build("MF-SSM", rank_by="dot")
