"""Vectors in chunks, and edges that choose among chunks: the common part of DisenGCN and DGCF.

The chunk is the first dimension: node vectors are (K, N, D / K) and edge weights (K, E), so each
chunk is one sparse product. The sum over neighbours and the product at each edge are each other's
derivative. As autograd functions they store nothing of size (E, D).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_hill.data.graph import EVERY, InteractionGraph
from recbole_hill.data.ragged import ranges
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


class Edges(NamedTuple):
    """The directed edges that some nodes read, row after row, and the same edges by column.

    Attributes:
        crow: Start of each row, and the end of the last, shape (n + 1,).
        row: Row of each edge, shape (E,).
        col: The node that the edge reads, shape (E,).
        places: The edges' places among all entries of the graph, shape (E,); or all.
        back_crow: Start of each read node's edges, and the end of the last, shape (N + 1,).
        back_col: Rows of the edges in the order of the read nodes, shape (E,).
        back: The edges in this order, shape (E,).
    """

    crow: Tensor
    row: Tensor
    col: Tensor
    places: Tensor | slice
    back_crow: Tensor
    back_col: Tensor
    back: Tensor


def edges_of(graph: InteractionGraph, nodes: Tensor | slice = EVERY) -> Edges:
    """Returns the edges that some nodes read.

    Args:
        graph: Graph of N nodes.
        nodes: Shape (n,); or all.
    """
    if isinstance(nodes, slice):
        there = graph.crow, graph.row, graph.col
        return Edges(*there, EVERY, graph.crow, graph.col, graph.reverse())
    crow, row, col = graph.rows(nodes)
    back = col.argsort(stable=True)
    back_crow = F.pad(torch.bincount(col, minlength=len(graph)).cumsum(0), (1, 0))
    places = ranges(graph.crow[nodes], crow.diff())
    return Edges(crow, row, col, places, back_crow, row[back], back)


def chunk_sums(edges: Edges, weights: Tensor, x: Tensor) -> Tensor:
    """Returns, for every chunk of every row, the sum of weight * chunk over what the row reads.

    Args:
        edges: E edges of n rows that read N nodes.
        weights: Shape (K, E).
        x: Shape (K, N, D / K).

    Returns:
        Shape (K, n, D / K); differentiable in ``weights`` and ``x``.
    """
    return _Sums.apply(edges, weights, x)


def chunk_products(edges: Edges, x: Tensor, y: Tensor) -> Tensor:
    """Returns, for every chunk and every edge (u, v), the inner product of x_u and y_v.

    Args:
        edges: E edges of n rows that read N nodes.
        x: Shape (K, n, D / K).
        y: Shape (K, N, D / K).

    Returns:
        Shape (K, E); differentiable in ``x`` and ``y``.
    """
    return _Products.apply(edges, x, y)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, edges, weights, x):
        ctx.edges = edges
        ctx.save_for_backward(weights, x)
        return _sums(edges, weights, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weights, x = ctx.saved_tensors
        _, for_weights, for_x = ctx.needs_input_grad
        return (
            None,
            _products(ctx.edges, gradient, x) if for_weights else None,
            _sums_back(ctx.edges, weights, gradient) if for_x else None,
        )


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx, edges, x, y):
        ctx.edges = edges
        ctx.save_for_backward(x, y)
        return _products(edges, x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        return None, _sums(ctx.edges, gradient, y), _sums_back(ctx.edges, gradient, x)


def _sums(edges: Edges, weights: Tensor, x: Tensor) -> Tensor:
    """Returns each row's sums over the nodes that it reads, (K, n, D / K)."""
    return _segment_sums(weights, x, edges.col, edges.crow)


def _sums_back(edges: Edges, weights: Tensor, x: Tensor) -> Tensor:
    """Returns each node's sums over the rows that read it, (K, N, D / K)."""
    return _segment_sums(weights[:, edges.back], x, edges.back_col, edges.back_crow)


def _segment_sums(weights: Tensor, x: Tensor, index: Tensor, crow: Tensor) -> Tensor:
    # embedding_bag wants contiguous weights and vectors.
    parts = zip(weights.contiguous(), x.contiguous(), strict=True)
    return torch.stack([segment_sums(w, chunk, index, crow) for w, chunk in parts])


def _products(edges: Edges, x: Tensor, y: Tensor) -> Tensor:
    size, ones = (x.shape[1], y.shape[1]), x.new_ones(len(edges.col))
    # Only the sparsity pattern counts, because beta is 0.
    pattern = torch.sparse_csr_tensor(
        edges.crow, edges.col, ones, size=size, check_invariants=False
    )
    sampled = torch.sparse.sampled_addmm
    parts = zip(x, y, strict=True)
    return torch.stack([sampled(pattern, a, b.T, beta=0).values() for a, b in parts])
