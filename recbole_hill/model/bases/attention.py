"""Attention over neighbourhoods of any size: segments of a CSR row instead of padding."""

import torch.nn.functional as F
from torch import Tensor


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
