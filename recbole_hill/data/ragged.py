"""Rows of different lengths, stored one after the other in one array."""

import torch
from torch import Tensor


def ranges(firsts: Tensor, sizes: Tensor) -> Tensor:
    """Returns the places ``firsts[r]``, ``firsts[r] + 1``, ... of every row r, row after row.

    Args:
        firsts: First place of each row, shape (R,).
        sizes: Number of places of each row, shape (R,).

    Returns:
        Shape (sum of sizes,).
    """
    shift = (firsts - (sizes.cumsum(0) - sizes)).repeat_interleave(sizes)
    return shift + torch.arange(len(shift), device=sizes.device)
