"""What the value tests of the baselines share: tables and vectors as nodes, and a tolerance."""

import torch
from torch import Tensor


def ego(model) -> Tensor:
    """Returns the tables as nodes, users first, (U + I, D)."""
    return torch.cat((model.user_embedding.weight, model.item_embedding.weight)).detach()


def vectors(model) -> Tensor:
    """Returns the final vectors as nodes, users first, (U + I, D)."""
    return torch.cat(model.user_item_embeddings())


def close(found: Tensor, expected: Tensor) -> None:
    """Asserts equality up to float32's rounding over a few layers."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def noting(monkeypatch, owner, name: str) -> list[tuple]:
    """Has the positional arguments of every call of a function noted; returns the growing list."""
    original, calls = getattr(owner, name), []

    def noted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, noted)
    return calls
