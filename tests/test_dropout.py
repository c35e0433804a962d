"""Dropout by 16-bit draws: what it keeps, how it scales, and that its draws are independent."""

import pytest
import torch

from recbole_hill.host.dropout import Dropout, dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_rest_scaled(rate):
    torch.manual_seed(0)
    x = torch.full((400, 999), 3.0, requires_grad=True)  # not a multiple of four
    found = dropout(x, rate)
    kept = found > 0
    rounded = round(rate * 65536) / 65536
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 3 / (1 - rounded)))
    n = x.numel()
    assert abs(kept.double().mean() - (1 - rate)) < 5 * (rate * (1 - rate) / n) ** 0.5
    found.sum().backward()
    torch.testing.assert_close(x.grad, found.detach() / 3)


def test_the_four_of_a_word_are_independent():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(100_000, 4), 0.3) > 0).double()
    torch.testing.assert_close(kept.mean(0), torch.full((4,), 0.7).double(), atol=0.01, rtol=0)
    expected = 0.21 * torch.eye(4, dtype=torch.float64)  # the variance is p (1 - p)
    torch.testing.assert_close(kept.T.cov(), expected, atol=0.005, rtol=0)


def test_it_follows_the_seed():
    x = torch.ones(100)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(dropout(x, 0.5))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_nothing_and_all():
    x = torch.randn(5, 3)
    assert dropout(x, 0.0) is x and dropout(x, 0.5, training=False) is x
    assert dropout(x, 1.0).eq(0).all() and dropout(x[:0], 0.5).shape == (0, 3)
    module = Dropout(0.5)
    assert not torch.equal(module(x), x) and module.eval()(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        dropout(torch.ones(3), rate)
