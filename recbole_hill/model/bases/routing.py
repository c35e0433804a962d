"""Vectors in chunks, and edges that choose among chunks: the common part of DisenGCN and DGCF.

The chunk is the first dimension: node vectors are (K, N, D / K) and edge weights (K, E), so each
chunk is one sparse product. The sum over neighbours and the product at each edge are each other's
derivative. As autograd functions they store nothing of size (E, D).
"""

import torch
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_sums


def chunk_count(config) -> int:
    """Returns the setting ``n_factors``, K.

    Raises:
        ValueError: If K does not divide ``embedding_size``.
    """
    count, size = config["n_factors"], config["embedding_size"]
    if not isinstance(count, int) or count < 1 or size % count:
        raise ValueError(f"n_factors must be a divisor of embedding_size {size}, got {count!r}")
    return count


def split_chunks(x: Tensor, n_chunks: int) -> Tensor:
    """Splits vectors (N, D) into K chunks, (K, N, D / K)."""
    return x.unflatten(1, (n_chunks, -1)).transpose(0, 1).contiguous()


def join_chunks(chunks: Tensor) -> Tensor:
    """Joins chunks (K, N, D / K) into vectors (N, D)."""
    return chunks.transpose(0, 1).flatten(1)


def chunk_sums(graph: InteractionGraph, weights: Tensor, x: Tensor) -> Tensor:
    """Returns, for every chunk of every node, the sum of weight * chunk over its neighbours.

    Args:
        graph: Graph of N nodes and E directed edges; row u reads column v.
        weights: Shape (K, E).
        x: Shape (K, N, D / K).

    Returns:
        Shape (K, N, D / K); differentiable in ``weights`` and ``x``.
    """
    return _Sums.apply(graph, weights, x)


def chunk_products(graph: InteractionGraph, x: Tensor, y: Tensor) -> Tensor:
    """Returns, for every chunk and every edge (u, v), the inner product of x_u and y_v.

    Args:
        graph: Graph of N nodes and E directed edges.
        x: Shape (K, N, D / K).
        y: Shape (K, N, D / K).

    Returns:
        Shape (K, E); differentiable in ``x`` and ``y``.
    """
    return _Products.apply(graph, x, y)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, graph, weights, x):
        ctx.graph = graph
        ctx.save_for_backward(weights, x)
        return _sums(graph, weights, x)

    @staticmethod
    def backward(ctx, gradient):
        weights, x = ctx.saved_tensors
        _, for_weights, for_x = ctx.needs_input_grad
        back = weights[:, ctx.graph.reverse()] if for_x else None
        return (
            None,
            _products(ctx.graph, gradient, x) if for_weights else None,
            _sums(ctx.graph, back, gradient) if for_x else None,
        )


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, graph, x, y):
        ctx.graph = graph
        ctx.save_for_backward(x, y)
        return _products(graph, x, y)

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        return (
            None,
            _sums(ctx.graph, gradient, y),
            _sums(ctx.graph, gradient[:, ctx.graph.reverse()], x),
        )


def _sums(graph: InteractionGraph, weights: Tensor, x: Tensor) -> Tensor:
    # embedding_bag wants contiguous weights and vectors.
    parts = zip(weights.contiguous(), x.contiguous(), strict=True)
    return torch.stack([segment_sums(w, chunk, graph.col, graph.crow) for w, chunk in parts])


def _products(graph: InteractionGraph, x: Tensor, y: Tensor) -> Tensor:
    pattern = graph.normalized()  # only its sparsity pattern counts, because beta is 0
    sampled = torch.sparse.sampled_addmm
    parts = zip(x, y, strict=True)
    return torch.stack([sampled(pattern, a, b.T, beta=0).values() for a, b in parts])
