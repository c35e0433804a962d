"""Attention over neighbourhoods of any size: each is a segment of a CSR row, without padding."""

import torch.nn.functional as F
from torch import Tensor


def segment_softmax(
    logits: Tensor, row: Tensor, n_rows: int, padding: Tensor | None = None
) -> Tensor:
    """Returns the softmax of the logits within each row.

    Args:
        logits: Shape (E,); -inf leaves an edge out.
        row: Row of each edge, shape (E,).
        n_rows: Number of rows.
        padding: Number of further logits of 0 in each row, shape (n_rows,). They count in the
            softmax and are not returned.

    Returns:
        Weights, shape (E,). They sum to 1 in each row without padding, and to 0 in a row whose
        edges are all left out.
    """
    highest = segment_max(logits.detach(), row, n_rows)
    highest = highest.where(highest.isfinite(), 0)
    if padding is not None:
        highest = highest.clamp_min(0).where(padding > 0, highest)
    weights = (logits - highest[row]).exp()
    totals = weights.new_zeros(n_rows).index_add(0, row, weights)
    if padding is not None:
        totals = totals + padding * (-highest).exp().where(padding > 0, 0)
    # The largest logit adds exp(0) = 1, so only an empty row has a smaller total.
    return weights / totals.clamp_min(1)[row]


def segment_max(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    """Returns the largest value of each row, shape (n,); 0 in a row without values.

    Args:
        values: Shape (E,).
        row: Row of each value, shape (E,).
        n_rows: Number of rows, n.
    """
    return values.new_zeros(n_rows).scatter_reduce(0, row, values, "amax", include_self=False)


def segment_sums(weights: Tensor, values: Tensor, index: Tensor, crow: Tensor) -> Tensor:
    """Returns each row's sum of weight * value, without an (E, D) array in between.

    Args:
        weights: Weights of the edges, row by row, shape (E,).
        values: Shape (N, D).
        index: The row of ``values`` that each edge reads, shape (E,).
        crow: Start of each row, and the end of the last, shape (n + 1,).

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
