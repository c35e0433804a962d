"""Talos: the loss against a loop, and the learnt quantile against the sorted scores."""

import pytest
import torch
from torch.nn.functional import normalize

NAMES = [("MF-Talos", "cosine"), ("LightGCN-Talos", "product")]
SMALL = {"tau": 0.3, "n_negatives": 6, "train_batch_size": 24, "loss_k": 4, "reg_weight": 0.0}


def tables(model):
    return model.user_embedding.weight, model.item_embedding.weight


@pytest.mark.parametrize("rivals", ["uniform", "shared"])
@pytest.mark.parametrize(("name", "rank_by"), NAMES)
def test_the_loss_by_loop(build, name, rank_by, rivals):
    model, batch = build(name, rivals=rivals, rank_by=rank_by, **SMALL)
    with torch.no_grad():
        model.user_quantile.copy_(torch.linspace(-2, 2, model.n_users))
    theta = model.user_quantile.detach().clone().requires_grad_()
    beta = model.quantile_scale * theta.detach()
    torch.manual_seed(3)
    user, positive, negative = model.draw(batch)
    users, items = (normalize(vectors) for vectors in model.user_item_embeddings())

    def power(u, item):
        return torch.sigmoid(users[u] @ items[item] - beta[u]) ** (1 / 0.3)

    def rho(u, item):
        above = (users[u] @ items[item]).detach() / model.quantile_scale - theta[u]
        return (1 - 4 / 48) * above.clamp_min(0) + 4 / 48 * (-above).clamp_min(0)

    softmax, quantile = [], []
    for row, (u, i) in enumerate(zip(user.tolist(), positive.tolist(), strict=True)):
        others = negative if rivals == "shared" else negative[row]
        softmax.append(-(power(u, i) / sum(power(u, j) for j in others)).log())
        own = model.sampler.has(torch.tensor([u]), torch.arange(49)).nonzero().view(-1).tolist()
        of_own, of_others = (sum(rho(u, j) for j in some) for some in (own, others.tolist()))
        quantile.append((of_own + (48 - len(own)) / len(others) * of_others) / 48)
    softmax, quantile = torch.stack(softmax).mean(), torch.stack(quantile).mean()
    torch.manual_seed(3)
    found = model.calculate_loss(batch)
    assert found.item() == pytest.approx(softmax.item(), rel=1e-5)
    # The vectors learn from the softmax alone, the quantiles from their own loss alone.
    ours, theirs = (
        torch.autograd.grad(x, tables(model), retain_graph=True) for x in (found, softmax)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    (found,), (expected,) = (
        torch.autograd.grad(found, model.user_quantile),
        torch.autograd.grad(quantile, theta),
    )
    torch.testing.assert_close(found, expected)
    assert found[user].all() and found.count_nonzero() == len(user.unique())


@pytest.mark.parametrize(
    ("name", "rivals"), [("MF-Talos", "batch"), ("LightGCN-Talos", "corrected")]
)
def test_the_items_of_a_batch_are_no_rivals(build, name, rivals):
    with pytest.raises(ValueError, match=f"rivals must be one of uniform, shared, got '{rivals}'"):
        build(name, rivals=rivals)


def test_a_quantile_far_above_all_scores_leaves_the_softmax_loss(build):
    """ln sigmoid(x) is x where x is far below 0."""
    changes = {
        "tau": 0.3,
        "n_negatives": 6,
        "reg_weight": 0.1,
        "rivals": "uniform",
        "init_std": 1.0,
    }
    model, batch = build("MF-Talos", loss_k=4, **changes)
    plain, _ = build("MF-BSL", power=1.0, pool_positives=False, dropout_rate=0.0, **changes)
    weights = model.state_dict()
    plain.load_state_dict({name: x for name, x in weights.items() if name != "user_quantile"})
    with torch.no_grad():
        model.user_quantile.fill_(15.0 / model.quantile_scale)
    losses = []
    for each in (model, plain):
        torch.manual_seed(3)
        draw = each.draw(batch)
        losses.append(each.ranking_loss(*each.user_item_embeddings(), *draw).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def slopes(model, user, beta):
    """Returns the slope of one user's quantile loss, with all other items as rivals, at beta."""
    users, items = (normalize(table.detach()) for table in tables(model))
    others = ~model.sampler.has(torch.tensor([user]), torch.arange(model.n_items))
    others[0] = False
    with torch.no_grad():
        model.user_quantile[user] = beta / model.quantile_scale
    rivals = (items[others] @ users[user]).unsqueeze(0)
    loss = model.quantile_loss(torch.tensor([user]), users[[user]], items, rivals)
    return torch.autograd.grad(loss, model.user_quantile)[0][user].item()


def test_the_slope_is_zero_between_the_kth_and_the_next_score(build):
    """With m items above beta it is (K - m) / |I|, as beta's own is, whatever the rates."""
    model, _ = build("MF-Talos", quantile_learning_rate=0.003, learning_rate=0.01, **SMALL)
    users, items = (normalize(table.detach()) for table in tables(model))
    for user in (1, 17, 80):
        ordered = (items[1:] @ users[user]).sort(descending=True).values
        for above in (1, 3, 4, 5, 40):
            beta = (ordered[above - 1] + ordered[above]) / 2
            found = slopes(model, user, beta)
            assert found == pytest.approx((4 - above) / 48, abs=1e-6), above


def test_quantiles_learn_at_a_rate_of_their_own(build):
    model, batch = build("MF-Talos", quantile_learning_rate=1e-3, learning_rate=0.05, **SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    model.calculate_loss(batch).backward()
    optimizer.step()  # Adam's first is as long as its rate
    beta = (model.quantile_scale * model.user_quantile).detach()
    seen = torch.zeros(model.n_users, dtype=torch.bool)
    seen[batch["user_id"]] = True
    torch.testing.assert_close(
        beta[seen].abs(), torch.full((int(seen.sum()),), 1e-3), rtol=0.01, atol=0
    )
    assert not beta[~seen].any()


def test_k_items_are_above_a_learnt_quantile(build):
    changes = {"quantile_learning_rate": 0.02, "learning_rate": 0.02, "n_negatives": 48}
    model, batch = build(
        "MF-Talos", **{**SMALL, **changes, "train_batch_size": 1024}, rivals="uniform"
    )
    model.requires_grad_(False)
    model.user_quantile.requires_grad_(True)
    optimizer = torch.optim.Adam([model.user_quantile], lr=0.02)
    torch.manual_seed(0)
    for step in range(120):
        if step == 80:
            optimizer.param_groups[0]["lr"] = 0.002
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    users, items = (normalize(table) for table in tables(model))
    above = ((users @ items[1:].T) > (model.quantile_scale * model.user_quantile).unsqueeze(1)).sum(
        1
    )
    assert above[1:].float().mean() == pytest.approx(4, abs=0.5)
    assert above[1:].min() >= 2 and above[1:].max() <= 6
