"""Attention over neighbourhoods of any size: segments of a CSR row instead of padding."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def segment_softmax(logits: Tensor, row: Tensor, n_rows: int) -> Tensor:
    """Returns the softmax of the logits within each row.

    Args:
        logits: Shape (E,); -inf leaves an edge out.
        row: The edges' rows, shape (E,).
        n_rows: Number of rows.

    Returns:
        Weights, shape (E,); a row's sum to 1, or to 0 where all its edges are left out.
    """
    highest = segment_max(logits.detach(), row, n_rows)
    highest = highest.where(highest.isfinite(), 0)
    weights = (logits - highest[row]).exp()
    totals = weights.new_zeros(n_rows).index_add(0, row, weights)
    # The largest edge adds exp(0) = 1, so that only an empty row's total is less.
    return weights / totals.clamp_min(1)[row]


def segment_max(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    """Returns the largest value of each row, shape (n,); 0 where there is none.

    Args:
        values: Shape (E,).
        row: The values' rows, shape (E,).
        n_rows: n.
    """
    return values.new_zeros(n_rows).scatter_reduce(0, row, values, "amax", include_self=False)


def segment_sums(weights: Tensor, values: Tensor, index: Tensor, crow: Tensor) -> Tensor:
    """Returns each row's sum of weight * value, without an (E, D) array in between.

    Args:
        weights: Of the edges, shape (E,), row by row.
        values: Shape (N, D).
        index: The value that each edge reads, shape (E,).
        crow: Where each row starts, and the last ends, shape (n + 1,).

    Returns:
        Shape (n, D).
    """
    return F.embedding_bag(
        index,
        values,
        crow,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def pair_products(x: Tensor, row: Tensor, y: Tensor, column: Tensor) -> Tensor:
    """Returns inner products of pairs of vectors, without (E, D) arrays of either.

    Args:
        x: Shape (N, D).
        row: The pairs' rows of ``x``, shape (E,).
        y: Shape (M, D).
        column: The pairs' rows of ``y``, shape (E,).

    Returns:
        Shape (E,); differentiable in ``x`` and ``y``.
    """
    return _PairProducts.apply(x, row, y, column)


class _PairProducts(torch.autograd.Function):
    """Walks over blocks of pairs whose vectors fit a CPU's cache: more than twice as fast."""

    cpu_block = 2**12

    @staticmethod
    def forward(ctx, x: Tensor, row: Tensor, y: Tensor, column: Tensor) -> Tensor:
        ctx.save_for_backward(x, row, y, column)
        products = x.new_empty(len(row))
        for product, i, j in _PairProducts.blocks(products, row, column):
            torch.sum(x.index_select(0, i).mul_(y.index_select(0, j)), 1, out=product)
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        x, row, y, column = ctx.saved_tensors
        of_x, of_y = torch.zeros_like(x), torch.zeros_like(y)
        for weight, i, j in _PairProducts.blocks(gradient.unsqueeze(1), row, column):
            of_x.index_add_(0, i, y.index_select(0, j).mul_(weight))
            of_y.index_add_(0, j, x.index_select(0, i).mul_(weight))
        return of_x, None, of_y, None

    @staticmethod
    def blocks(*of_pairs: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yields the same pairs of each tensor; on other devices than a CPU all at once."""
        on_cpu = of_pairs[0].device.type == "cpu"
        step = _PairProducts.cpu_block if on_cpu else max(1, len(of_pairs[0]))
        return zip(*(part.split(step) for part in of_pairs), strict=True)
