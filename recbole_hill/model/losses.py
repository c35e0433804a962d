"""Losses that more than one model shares."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_hill.checks import is_number

#: Types for the large matrix products of a loss, by their names in the settings.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking (UAI 2009): the mean of -ln sigmoid(positive - negative).

    Args:
        positive: Scores of the observed pairs, any shape.
        negative: Scores of the sampled pairs, broadcastable to ``positive``.

    Returns:
        Scalar loss.
    """
    return F.softplus(negative - positive).mean()


def batch_norms(*embeddings: Tensor) -> Tensor:
    """RecBole's ``EmbLoss``: *unsquared* Frobenius norms of the batch's embeddings, divided by B.

    Args:
        embeddings: Matrices of layer-0 embeddings, each of shape (B, D).

    Returns:
        Scalar regulariser.
    """
    return sum(e.norm() for e in embeddings) / len(embeddings[0])


def squared_l2(*embeddings: Tensor) -> Tensor:
    """The papers' regulariser: half the *squared* norms of the batch's embeddings, divided by B.

    Args:
        embeddings: Layer-0 embeddings of the batch, shape (B, ..., D).

    Returns:
        Scalar regulariser.
    """
    return sum(e.square().sum() for e in embeddings) / (2 * len(embeddings[0]))


def sampled_softmax(positive: Tensor, negative: Tensor) -> Tensor:
    """The mean over the batch of -ln softmax of the positive among itself and its negatives.

    With one negative it equals BPR.

    Args:
        positive: Scores, shape (B,).
        negative: Scores of the sampled items, shape (B, n).

    Returns:
        Scalar loss.
    """
    return (torch.logsumexp(torch.cat((positive.unsqueeze(1), negative), 1), 1) - positive).mean()


def cosine_contrastive(
    positive: Tensor, negative: Tensor, *, margin: float, weight: float
) -> Tensor:
    """SimpleX's loss (CIKM 2021, Eq. 1): mean of (1 - s+)_+ + weight * mean_n (s- - margin)_+.

    Args:
        positive: Cosines s+, shape (B,).
        negative: Cosines s- of the sampled items, shape (B, n).
        margin: A negative with a smaller cosine costs nothing.
        weight: Weight of the *mean* over the negatives.

    Returns:
        Scalar loss.
    """
    return (F.relu(1 - positive) + weight * F.relu(negative - margin).mean(1)).mean()


#: As in ``torch.nn.functional.normalize``.
_LEAST_NORM = 1e-12


class _Unit(torch.autograd.Function):
    """Rows divided by their lengths, with half the passes over the table that autograd needs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        norm = x.norm(dim=1, keepdim=True)
        # An L2 term alone moves a row near zero, where 1 / norm^2 overflows.
        scale = torch.where(norm > _LEAST_NORM, norm.reciprocal(), 0.0)
        scaled = x * scale
        ctx.save_for_backward(scaled, scale)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        scaled, scale = ctx.saved_tensors
        along = (gradient * scaled).sum(1, keepdim=True)
        return torch.mul(scaled, along).neg_().add_(gradient).mul_(scale)


def unit(x: Tensor) -> Tensor:
    """Scales rows to length 1. A row of length (nearly) 0, such as a dropped node, becomes 0.

    The gradient of such a row is 0, too.

    Args:
        x: Shape (N, D).

    Returns:
        Shape (N, D).
    """
    return _Unit.apply(x)


#: With a smaller tau exp(-2 / tau) leaves the range of float32.
_LEAST_TAU = 0.025


def temperature(key: str, value) -> float:
    """Returns a temperature if :class:`CosineLogSumExp` can use it.

    Args:
        key: Name of the setting, for the message.
        value: Any value, as settings come from YAML.

    Raises:
        ValueError: Names the key, the value and what is accepted.
    """
    if not is_number(value) or not value >= _LEAST_TAU:
        raise ValueError(f"{key} must be at least {_LEAST_TAU}, got {value!r}")
    return value


class CosineLogSumExp(torch.autograd.Function):
    """log sum_c w_c exp(<r, c> / tau) for unit rows r and c.

    Both passes walk over strips of rows. The first ``most_kept`` exponentials E are kept for the
    backward, which computes all others again. So the memory is bounded, however large the batch is.
    With Z the sums, the gradients are g / Z * E (w C) and w * E^T (g / Z R): both scale vectors,
    never the matrix. Cosines are at most 1 and :func:`temperature` bounds tau, so no exponential
    leaves the range of float32 and no row needs the usual shift by its maximum.

    Rows and columns are padded to a multiple of 256. Otherwise oneDNN compiles and keeps a kernel
    for each new shape: gigabytes over a few thousand batches of varying size.

    Args (of ``apply``):
        rows: Unit vectors (or zero), shape (R, D).
        columns: Unit vectors (or zero), shape (C, D).
        weights: Multiplicity of each column, shape (C,).
        tau: The :func:`temperature`.
        precision: dtype of the matrix products, ``torch.float32`` or ``torch.bfloat16``.

    Returns:
        Shape (R,).
    """

    #: Rows of a strip. A GPU is faster with few launches of large strips.
    strip, device_strip = 256, 2048
    #: Largest number of exponentials kept: 192 MiB.
    most_kept = 3 * 2**24

    @staticmethod
    def forward(
        ctx, rows: Tensor, columns: Tensor, weights: Tensor, tau: float, precision: torch.dtype
    ) -> Tensor:
        """Returns the weighted log-sum-exp of every row."""
        form = CosineLogSumExp
        strip = form.strip if rows.device.type == "cpu" else form.device_strip
        scaled = _filled(rows / tau, strip).to(precision)
        others = _filled(columns, 256).to(precision)
        weight = F.pad(weights, (0, len(others) - len(weights)))
        n_kept = form.most_kept // (strip * len(others)) if any(ctx.needs_input_grad) else 0
        sums, kept = torch.empty(len(scaled), device=rows.device), []
        for some in _strips(scaled, strip):
            exponentials = _exponentials(scaled[some], others)
            torch.mv(exponentials, weight, out=sums[some])
            if len(kept) < n_kept:
                kept.append(exponentials.to(precision))
        ctx.save_for_backward(scaled, others, weight, sums)
        ctx.tau, ctx.strip, ctx.kept, ctx.sizes = tau, strip, kept, (len(rows), len(columns))
        return sums[: len(rows)].log()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of rows and columns."""
        scaled, columns, weight, sums = ctx.saved_tensors
        n_rows, n_columns = ctx.sizes
        share = (F.pad(gradient, (0, len(scaled) - n_rows)) / sums).unsqueeze(1)
        weighted = (weight.unsqueeze(1) * columns).to(columns.dtype)
        shared = (share * scaled).to(scaled.dtype)
        d_rows = torch.empty(scaled.shape, device=gradient.device)
        d_columns = torch.zeros(columns.shape, device=gradient.device)
        kept = iter(ctx.kept)
        for some in _strips(scaled, ctx.strip):
            again = next(kept, None)
            if again is None:
                again = _exponentials(scaled[some], columns).to(columns.dtype)
            d_rows[some] = again @ weighted
            d_columns += again.T @ shared[some]
        d_rows = d_rows.mul_(share)[:n_rows] / ctx.tau
        return d_rows, d_columns.mul_(weight.unsqueeze(1))[:n_columns], None, None, None


def _filled(x: Tensor, multiple: int) -> Tensor:
    """Appends zero rows up to the next multiple."""
    return F.pad(x, (0, 0, 0, -len(x) % multiple))


def _strips(rows: Tensor, size: int) -> Iterator[slice]:
    """Yields the places of ``size`` rows after ``size`` rows."""
    return (slice(first, first + size) for first in range(0, len(rows), size))


def _exponentials(rows: Tensor, columns: Tensor) -> Tensor:
    """Returns exp(rows @ columns.T) in float32, shape (R, C)."""
    return (rows @ columns.T).float().exp_()


def neighbour_contrast(
    view: Tensor,
    other_view: Tensor,
    users: Tensor,
    items: Tensor,
    neighbours: Tensor,
    *,
    tau: float,
    form: str,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """NESCL's supervised contrastive loss over a batch of interactions (TKDE 2024, Eq. 9-12).

    Every user and item of the batch is an anchor a. Its positives p are itself, the other node of
    its interaction, and one similar node, all in the first view. With the batch's nodes b, s(p, a)
    = exp(cos(z'_p, z''_a) / tau) / sum_b exp(cos(z'_p, z''_b) / tau). The loss is the mean over
    anchors of -log mean_p s ("out") or of -mean_p log s ("in").

    A repeated node is computed once and counted as often as it occurs, so the value equals the
    plain formula. The denominator of s(p, a) depends on p alone, so it is computed once for each p.

    Args:
        view: Node embeddings z' of the first view, shape (N, D).
        other_view: Node embeddings z'' of the second view, shape (N, D).
        users: Nodes of the batch's users, shape (B,).
        items: Nodes (not item ids) of the batch's items, shape (B,).
        neighbours: One similar node for each anchor, users first, shape (2B,).
        tau: Temperature.
        form: "out" or "in".
        precision: dtype of the large matrix products.

    Returns:
        Scalar loss.
    """
    anchors = torch.cat((users, items))  # (2B,)
    columns, column_of, counts = torch.unique(anchors, return_inverse=True, return_counts=True)
    rows, row_of = torch.unique(torch.cat((anchors, neighbours)), return_inverse=True)
    first, second = unit(view[rows]), unit(other_view[columns])
    log_sums = CosineLogSumExp.apply(first, second, counts.float(), tau, precision)

    own, similar = row_of.chunk(2)
    partner = torch.cat(own.chunk(2)[::-1])
    target = second[column_of]  # (2B, D)
    log_s = torch.stack(
        [(first[p] * target).sum(1) / tau - log_sums[p] for p in (own, partner, similar)], dim=1
    )  # (2B, 3)
    if form == "in":
        return -log_s.mean()
    return math.log(log_s.shape[1]) - torch.logsumexp(log_s, dim=1).mean()
