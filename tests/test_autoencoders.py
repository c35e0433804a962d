"""Mult-VAE against its formula, and RecBole's auto-encoders under the papers' names."""

import numpy as np
import pytest
import torch
from contract import built

from recbole_hill import registry
from recbole_hill.host.dropout import dropout


@pytest.fixture
def build(tiny_path, tmp_path):
    def build(name: str, **changes):
        model, _, data = built(name, tiny_path, tmp_path, **changes)
        return model.train(), data

    return build


def test_the_loaders_give_users(build):
    """RecBole knows its user-wise models by name; under the paper's name they need the same."""
    for name in ("Mult-VAE", "Macrid-VAE"):
        _, data = build(name, train_batch_size=16)
        batches = [batch["user_id"] for batch in data.train]
        assert sorted(torch.cat(batches).tolist()) == list(range(81))  # and padding


def scaled(x):
    """Rows over their lengths; the padding user's is empty."""
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-12)


def dropped_items(rows, rate):
    """Dropout of the entries that are not 0, in their order."""
    kept = torch.zeros_like(rows)
    kept[rows > 0] = dropout(torch.ones(int(rows.sum())), rate)
    return kept


def second_step(model, data):
    """The loss of a batch as the second step, at which the annealing is .2, and its train rows."""
    batch = next(iter(data.train))
    model.update = 1
    torch.manual_seed(0)
    found = model.calculate_loss(batch)
    matrix = data.train._dataset.inter_matrix(form="csr").toarray()
    return found, torch.from_numpy(matrix[batch["user_id"].numpy()]).float()


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_mult_vaes_loss_by_hand(build, rate):
    """The row is scaled to length 1 and then dropped out."""
    changes = {"dropout_prob": rate, "anneal_cap": 0.3, "total_anneal_steps": 10}
    model, data = build("Mult-VAE", mlp_hidden_size=[8], latent_dimension=6, **changes)
    found, rows = second_step(model, data)
    torch.manual_seed(0)
    kept = dropped_items(rows, rate)
    hidden = model.encoder(kept * scaled(rows))
    mu, log_variance = hidden.split(3, dim=1)
    z = mu + torch.randn_like(mu) * (log_variance / 2).exp()
    likelihood = (model.decoder(z).log_softmax(1) * rows).sum(1).mean()
    kl = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    assert found.item() == pytest.approx((0.2 * kl - likelihood).item(), rel=1e-5)
    assert model.update == 2


def test_macrid_vaes_loss_by_loop(build):
    """Each prototype's part of a row is scaled to length 1 and dropped out by itself."""
    changes = {"dropout_prob": 0.4, "anneal_cap": 0.3, "total_anneal_steps": 10, "kfac": 3}
    changes |= {"encoder_hidden_size": [8], "embedding_size": 5, "tau": 0.3, "std": 0.5}
    model, data = build("Macrid-VAE", nogb=True, **changes)
    found, rows = second_step(model, data)
    items, cores = scaled(model.item_embedding.weight), scaled(model.k_embedding.weight)
    shares = (items @ cores.T / 0.3).softmax(1)
    torch.manual_seed(0)
    likelihoods, kl = 0.0, 0.0
    for k in range(3):
        kept = dropped_items(rows, 0.4)
        hidden = model.encoder(kept * scaled(rows * shares[:, k]))
        mu, log_variance = scaled(hidden[:, :5]), hidden[:, 5:]
        z = scaled(mu + 0.5 * torch.randn_like(mu) * (log_variance / 2).exp())
        likelihoods = likelihoods + shares[:, k] * (z @ items.T / 0.3).exp()
        kl = kl + 0.5 * (log_variance.exp() - 1 - log_variance).sum(1).mean()
    likelihood = ((likelihoods / likelihoods.sum(1, keepdim=True)).log() * rows).sum(1).mean()
    assert found.item() == pytest.approx((0.2 * kl - likelihood).item(), rel=1e-5)


def test_macrid_vae_ranks_without_noise(build):
    model, data = build("Macrid-VAE")
    batch = next(iter(data.train))
    model.eval()
    assert torch.equal(model.full_sort_predict(batch), model.full_sort_predict(batch))


def test_mult_vae_samples_with_the_encoders_spread(build):
    model, _ = build("Mult-VAE")
    mu, log_variance = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), np.log(9.0))
    drawn = model.reparameterize(mu, log_variance)
    assert drawn.mean().item() == pytest.approx(2, abs=0.1)
    assert drawn.std().item() == pytest.approx(3, abs=0.1)
    model.eval()
    assert torch.equal(model.reparameterize(mu, log_variance), mu)


@pytest.mark.parametrize("name", ["Mult-VAE", "Macrid-VAE"])
def test_the_annealing_is_kept_with_the_weights(build, name):
    model, data = build(name)
    for _ in range(3):
        model.calculate_loss(next(iter(data.train)))
    again, _ = build(name)
    again.load_state_dict(model.state_dict())
    assert again.update == model.update == 3


def test_recboles_spellings_are_the_same_models():
    for alias, name in (("MultiVAE", "Mult-VAE"), ("MacridVAE", "Macrid-VAE")):
        assert registry.find(alias).name == name
