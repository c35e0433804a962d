"""SL@K: the weighted loss against a loop, its quantiles by hand, and a run that was killed."""

import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_settings
from torch.nn.functional import normalize

from recbole_hill.data.sampling import InteractionSampler
from recbole_hill.model.baselines.slk import N_DRAWN, top_k_quantiles
from recbole_hill.pipeline import run
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.train.trainer import RunTrainer

#: The paper's loss of a tiny batch, with all that is not SL@K switched off.
PLAIN = {"tau": 0.3, "power": 1.0, "pool_positives": False, "dropout_rate": 0.0, "reg_weight": 0.0}
PLAIN |= {"n_negatives": 6, "train_batch_size": 24, "reject_positives": False}


def own_scores(train):
    """Returns users and items whose inner products are a matrix S, for a train matrix, and S."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(train.shape, generator=generator)
    return torch.eye(len(train)), scores.T.contiguous(), scores


# -- the quantiles ------------------------------------------------------------------------------


def test_quantiles_of_planted_scores():
    """Train items above all others: the k-th of them; fewer than k: the others' only score."""
    train = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0], [0] * 6])
    scores = torch.tensor(
        [[9.0] * 6, [9, 0.5, 0.9, 0.7, 0.8, 0.1], [9, 0.2, 0.2, 0.6, 0.2, 0.2], [9] * 6]
    )
    sampler = InteractionSampler(sp.csr_matrix(train.numpy()))
    for k, expected in ((1, [0, 0.9, 0.6, 0]), (3, [0, 0.7, 0.2, 0]), (4, [0, 0.5, 0.2, 0])):
        found = top_k_quantiles(torch.eye(4), scores.T.contiguous(), sampler, k)
        assert found.tolist() == pytest.approx(expected), k
    found = top_k_quantiles(torch.eye(4), scores.T.contiguous(), sampler, N_DRAWN)
    assert found.tolist() == pytest.approx([0, 0.1, 0.2, 0])


def test_quantiles_by_sorting(monkeypatch):
    """The k-th of a user's train items and of what was drawn for the user, in several blocks."""
    monkeypatch.setattr("recbole_hill.model.baselines.slk._BLOCK", 7)
    monkeypatch.setattr("recbole_hill.model.baselines.slk.N_DRAWN", 12)
    torch.manual_seed(0)
    train = torch.rand(20, 300) < 0.03
    train[:, 0] = train[0] = False
    scores = torch.randn(20, 300)
    sampler, drawn_for = InteractionSampler(sp.csr_matrix(train.numpy())), {}
    draw = sampler.negatives

    def kept(users, n, *, reject):
        drawn = draw(users, n, reject=reject)
        drawn_for.update(zip(users.tolist(), drawn, strict=True))
        return drawn

    monkeypatch.setattr(sampler, "negatives", kept)
    found = top_k_quantiles(torch.eye(20), scores.T.contiguous(), sampler, 5)
    assert drawn_for.keys() == set(train.any(1).nonzero().view(-1).tolist())
    for user in range(20):
        if user not in drawn_for:
            assert found[user] == 0
            continue
        assert len(drawn_for[user]) == 12 and not train[user, drawn_for[user]].any()
        pool = torch.cat((scores[user, train[user]], scores[user, drawn_for[user]]))
        assert found[user] == pool.sort(descending=True).values[4]


@pytest.mark.parametrize("rank_by", ["cosine", "product"])
def test_quantiles_are_renewed_between_epochs(build, rank_by):
    model, _ = build("LightGCN-SLK", loss_k=2, quantile_epochs=2, rank_by=rank_by)
    for epoch in (0, 1):
        model.begin_epoch(epoch)
        assert not model.user_quantiles.any()
    torch.manual_seed(5)
    model.begin_epoch(2)
    first = model.user_quantiles.clone()
    users, items = (normalize(vectors.detach()) for vectors in model.user_item_embeddings())
    torch.manual_seed(5)
    torch.testing.assert_close(first, top_k_quantiles(users, items, model.sampler, 2))
    assert first.abs().max() <= 1 and first[1:].all() and not first.requires_grad
    with torch.no_grad():
        model.item_embedding.weight.neg_()
    model.begin_epoch(3)
    assert torch.equal(model.user_quantiles, first)
    model.begin_epoch(4)
    assert not torch.equal(model.user_quantiles, first)


# -- the loss -----------------------------------------------------------------------------------


def loss_by_loop(model, user, positive, rivals_of):
    """sigmoid((s_ui - beta_u) / tau_w) ln sum over rivals of e^(d_uij / tau), mean over pairs."""
    users, items = (normalize(table.double()) for table in model.user_item_embeddings())
    losses = []
    for row, (u, i) in enumerate(zip(user.tolist(), positive.tolist(), strict=True)):
        score = users[u] @ items[i]
        weight = torch.sigmoid((score - model.user_quantiles[u].double()) / model.weight_tau)
        differences = items[rivals_of(row)] @ users[u] - score
        losses.append(weight * (differences / model.tau).logsumexp(0))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("rivals", ["uniform", "shared", "batch"])
@pytest.mark.parametrize(("name", "rank_by"), [("MF-SLK", "cosine"), ("LightGCN-SLK", "product")])
def test_the_loss_and_its_gradient_by_loop(build, name, rank_by, rivals):
    model, batch = build(name, rivals=rivals, rank_by=rank_by, weight_tau=0.4, **PLAIN)
    model.user_quantiles.copy_(torch.linspace(-0.5, 0.5, model.n_users))
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    assert len(user.unique()) < len(user)
    others = torch.arange(len(user))
    rivals_of = {
        "uniform": lambda row: negative[row],
        "shared": lambda row: negative,
        "batch": lambda row: positive[others != row],
    }
    expected = loss_by_loop(model, user, positive, rivals_of[rivals])
    torch.manual_seed(3)
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = (
        torch.autograd.grad(x, (model.user_embedding.weight, model.item_embedding.weight))
        for x in (found, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"rivals": "uniform", "pool_positives": True, "power": 1.3},
        {"rivals": "batch", "power": 0.8, "dropout_rate": 0.3},
    ],
)
def test_equal_weights_are_bsl(build, changes):
    changes = PLAIN | {"reg_weight": 0.1} | changes
    weighted, batch = build("LightGCN-SLK", weight_tau=0.4, n_layers=2, **changes)
    plain, _ = build("LightGCN-BSL", n_layers=2, init_std=1.0, **changes)
    weights = weighted.state_dict()
    plain.load_state_dict({name: x for name, x in weights.items() if name != "user_quantiles"})

    def loss(model):
        torch.manual_seed(3)
        return model.calculate_loss(batch).item()

    weighted.user_quantiles.fill_(-1e6)  # sigmoid(inf): every weight is 1
    assert loss(weighted) == pytest.approx(loss(plain), rel=1e-6)
    weighted.user_quantiles.zero_()
    assert loss(weighted) < loss(plain)
    for model in (weighted, plain):
        model.reg_weight = 0.0
    weighted.weight_tau = 1e9  # sigmoid(0): every weight is a half
    assert loss(weighted) == pytest.approx(loss(plain) / 2, rel=1e-6)


@pytest.mark.parametrize("name", ["MF-SLK", "MF-Talos"])
def test_rows_of_some_users_keep_their_quantiles(build, name):
    """HILL hands the loss the vectors of a batch's users alone, with their ids."""
    model, batch = build(name, rivals="uniform", n_negatives=3, train_batch_size=24)
    quantiles = "user_quantiles" if name == "MF-SLK" else "user_quantile"
    with torch.no_grad():
        getattr(model, quantiles).copy_(torch.linspace(-1, 1, model.n_users))
    user, positive, negative = model.draw(batch)
    users, items = model.user_item_embeddings()
    some, row = user.unique(return_inverse=True)
    whole = model.ranking_loss(users, items, user, positive, negative)
    every = torch.arange(model.n_items)
    part = model.ranking_loss(users[some], items, row, positive, negative, (some, every))
    assert part.item() == pytest.approx(whole.item(), rel=1e-6)
    assert model.ranking_loss(users[some], items, row, positive, negative).item() != part.item()


# -- rivals that a batch shares -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["MF-SSM", "LightGCN-SSM"])
def test_shared_rivals_by_the_plain_matrix(build, name):
    model, batch = build(name, rivals="shared", n_negatives=7, tau=0.15, reg_weight=0.2)
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    assert negative.shape == (7,) and negative.min() >= 1
    users, items = model.user_item_embeddings()
    logits = torch.cat(
        ((users[user] * items[positive]).sum(1, keepdim=True), users[user] @ items[negative].T), 1
    )
    expected = -(logits / 0.15).log_softmax(1)[:, 0].mean()
    rows = (
        model.user_embedding(user),
        model.item_embedding(positive),
        model.item_embedding(negative),
    )
    expected = expected + 0.1 * sum(row.square().sum() for row in rows) / len(user)
    for loss in (
        model.calculate_loss,
        lambda batch: model.embedding_loss(*model.user_item_embeddings(), batch),
    ):
        torch.manual_seed(3)
        assert loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


# -- a run --------------------------------------------------------------------------------------


def test_a_killed_run_resumes_to_the_same_bits(tiny_path, tmp_path, monkeypatch):
    changes = {"quantile_epochs": 2, "loss_k": 3, "n_negatives": 5, "epochs": 4}
    settings = tiny_settings(tiny_path, "MF-SLK", **changes)
    whole = run("MF-SLK", "tiny", overrides={**settings, "checkpoint_dir": str(tmp_path / "whole")})

    save = RunTrainer._save_state

    def killed(trainer, epoch, train_data):
        save(trainer, epoch, train_data)
        if epoch == 3:  # an epoch that does not estimate the quantiles itself
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunTrainer, "_save_state", killed)
        run("MF-SLK", "tiny", overrides={**settings, "checkpoint_dir": str(tmp_path / "killed")})
    resumed = run(resume=str(next((tmp_path / "killed").iterdir())))
    one, other = (load_weights(each.folder / "backbone.safetensors") for each in (whole, resumed))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert one["user_quantiles"].any()
