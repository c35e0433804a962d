"""Losses against hand-computed values and slow, obvious references."""

import math

import pytest
import torch

from recbole_hill.model.losses import (
    CosineLogSumExp,
    batch_norms,
    bpr,
    neighbour_contrast,
    temperature,
    unit,
)


def plain_contrast(view, other, users, items, neighbours, tau, form):
    """The formula as it is written, one similarity matrix over all batch nodes."""
    anchors = torch.cat((users, items))
    positives = torch.stack((anchors, torch.cat((items, users)), neighbours), 1)  # (2B, 3)
    columns = torch.nn.functional.normalize(other[anchors])
    log_s = []
    for which in range(3):
        rows = torch.nn.functional.normalize(view[positives[:, which]])
        logits = rows @ columns.T / tau
        log_s.append(logits.diagonal() - logits.logsumexp(1))
    log_s = torch.stack(log_s, 1)
    return -log_s.mean() if form == "in" else -log_s.exp().mean(1).log().mean()


@pytest.fixture
def batch():
    torch.manual_seed(0)
    n, b = 40, 30
    users, items = torch.randint(0, 15, (b,)), torch.randint(15, n, (b,))  # with repetitions
    neighbours = torch.cat((torch.randint(0, 15, (b,)), torch.randint(15, n, (b,))))
    views = [torch.randn(n, 8, dtype=torch.float64).float().requires_grad_() for _ in range(2)]
    return views, users, items, neighbours


@pytest.mark.parametrize("form", ["in", "out"])
@pytest.mark.parametrize("tau", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("most_kept", [0, 1000, 2**27])  # 1000: some strips of 3 rows
@pytest.mark.parametrize("strip", [3, 256])
def test_contrast_equals_the_plain_formula_in_value_and_gradient(
    batch, form, tau, strip, most_kept, monkeypatch
):
    monkeypatch.setattr(CosineLogSumExp, "strip", strip)
    monkeypatch.setattr(CosineLogSumExp, "most_kept", most_kept)
    (view, other), *nodes = batch
    fast = neighbour_contrast(view, other, *nodes, tau=tau, form=form)
    fast_gradients = torch.autograd.grad(fast, (view, other))
    slow = plain_contrast(view, other, *nodes, tau, form)
    slow_gradients = torch.autograd.grad(slow, (view, other))
    assert fast.item() == pytest.approx(slow.item(), rel=1e-5)
    for a, b in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_contrast_by_hand_two_nodes():
    # One user (node 0) and one item (node 1), orthogonal; the neighbour of each is itself.
    view = torch.eye(2)
    loss = neighbour_contrast(
        view, view, torch.tensor([0]), torch.tensor([1]), torch.tensor([0, 1]), tau=1.0, form="in"
    )
    own = math.log(math.e / (math.e + 1))  # itself, and its neighbour, which is itself
    partner = math.log(1 / (math.e + 1))
    assert loss.item() == pytest.approx(-(2 * own + partner) / 3, rel=1e-6)


def test_dropped_nodes_have_zero_vectors_and_finite_gradients(batch):
    (view, other), *nodes = batch
    kept = torch.ones(40, 1)
    kept[::3] = 0
    loss = neighbour_contrast(view * kept, other * kept, *nodes, tau=0.1, form="out")
    gradient = torch.autograd.grad(loss, view)[0]
    assert torch.isfinite(gradient).all()
    assert (gradient[::3] == 0).all()


def test_bfloat16_products_stay_close(batch):
    (view, other), *nodes = batch
    exact = neighbour_contrast(view, other, *nodes, tau=0.1, form="out")
    rough = neighbour_contrast(view, other, *nodes, tau=0.1, form="out", precision=torch.bfloat16)
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)


def test_the_least_temperature_is_what_opposite_rows_can_bear():
    """At .025 a row still sees a column at the cosine -1; below, the message names the setting."""
    row, column = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    least = temperature("tau", 0.025)
    row.requires_grad_()
    for columns, cosine in ((column, -1), (-column, 1)):
        found = CosineLogSumExp.apply(row, columns, torch.ones(1), least, torch.float32)
        assert found.item() == pytest.approx(40 * cosine, abs=1e-4)
        slope = torch.autograd.grad(found.sum(), row)[0]
        torch.testing.assert_close(slope, columns / least)
    for tau in (0.0249, 0, -1, float("nan"), "cold", None):
        with pytest.raises(ValueError, match=f"^tau must be at least 0.025, got {tau!r}$"):
            temperature("tau", tau)


def test_bpr_by_hand():
    loss = bpr(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(2)) / 2, rel=1e-6)


def test_batch_norms_are_recboles_embloss():
    from recbole.model.loss import EmbLoss

    torch.manual_seed(0)
    parts = [torch.randn(7, 3) for _ in range(3)]
    assert batch_norms(*parts).item() == pytest.approx(EmbLoss()(*parts).item(), rel=1e-6)


def test_unit_keeps_zero_rows_and_passes_gradcheck():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, (x,))
    zero = torch.zeros(2, 3, requires_grad=True)
    unit(zero).sum().backward()
    assert (unit(zero) == 0).all() and (zero.grad == 0).all()


@pytest.mark.parametrize("length", [1e-13, 1e-20, 1e-30, 1e-38])
def test_a_row_that_only_an_l2_term_has_moved_does_not_become_nan(length):
    """The padding row under Adam: its gradient would hold 1 / norm^2."""
    row = torch.full((1, 4), length / 2, requires_grad=True)
    unit(row).sum().backward()
    assert (unit(row) == 0).all() and (row.grad == 0).all()
    torch.testing.assert_close(unit(torch.full((1, 4), 1e-9)), torch.full((1, 4), 0.5))
