"""Rows of different lengths that stand one after the other in one array."""

import torch
from torch import Tensor


def ranges(firsts: Tensor, sizes: Tensor) -> Tensor:
    """Returns the places ``firsts[r]``, ``firsts[r] + 1``, ... of every row, one after the other.

    Args:
        firsts: Where each row begins, shape (R,).
        sizes: How many places it has, shape (R,).

    Returns:
        Shape (sum of sizes,).
    """
    shift = (firsts - (sizes.cumsum(0) - sizes)).repeat_interleave(sizes)
    return shift + torch.arange(len(shift), device=sizes.device)
