"""One-layer attention learning: items as queries, index nodes as keys and values.

Reference:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation." arXiv
    2604.12965, 2026, Algorithm 1. It is the same as the algorithm of LTI in arXiv 2408.06653.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class NodeAttention(torch.autograd.Function):
    """Soft assignment a_k = softmax_k(-alpha |v - c_k|^2) and pseudo item sum_k a_k c_k.

    Forward and backward pass work on blocks of items, so that the scores of a block fit a
    processor's cache. Only the assignment is kept between the passes, at the precision of the
    products. On a CPU this is about twice as fast as the same formula under autograd
    (benchmarks/index_learning.py).

    The scores are always float32, because alpha and then the exponential amplify their rounding
    error.

    Args (of ``apply``):
        items: Item vectors, shape (B, D).
        nodes: Node vectors, shape (K, D).
        alpha: Inverse temperature, at least 0.
        precision: dtype of the kept assignment and of all matrix products except the scores:
            ``torch.float32`` or ``torch.bfloat16``.

    Returns:
        Pseudo items, shape (B, D), and the mean assignment over the items, shape (K,).
    """

    block_entries = 2**20

    @staticmethod
    def forward(
        ctx, items: Tensor, nodes: Tensor, alpha: float, precision: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Returns the pseudo items and the mean assignment."""
        # Softmax does not depend on |v|^2, which is the same for all nodes.
        bias = -alpha * nodes.square().sum(1)
        scaled, values = items * (2 * alpha), nodes.to(precision)
        kept = nodes.new_empty(len(items), len(nodes), dtype=precision)
        pseudo, mean = torch.empty_like(items), nodes.new_zeros(len(nodes))
        for block in _blocks(items, nodes):
            assignment = torch.addmm(bias, scaled[block], nodes.T).softmax(1)
            mean += assignment.sum(0)
            kept[block] = assignment
            pseudo[block] = (kept[block] @ values).float()
        ctx.save_for_backward(items, nodes, kept)
        ctx.alpha = alpha
        return pseudo, mean / len(items)

    @staticmethod
    @once_differentiable
    def backward(ctx, of_pseudo: Tensor, of_mean: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of the items and of the nodes."""
        items, nodes, kept = ctx.saved_tensors
        values, queries, of_pseudo = (x.to(kept.dtype) for x in (nodes, items, of_pseudo))
        of_mean = (of_mean / len(items)).to(kept.dtype)
        of_items = torch.empty_like(items) if ctx.needs_input_grad[0] else None
        of_nodes = torch.zeros_like(nodes)
        by_node = nodes.new_zeros(len(nodes))  # gradient of the scores, summed over the items
        for block in _blocks(items, nodes):
            assignment = kept[block]
            scores = torch.addmm(of_mean, of_pseudo[block], values.T).mul_(assignment)
            scores.sub_(assignment * scores.sum(1, keepdim=True))
            if of_items is not None:
                of_items[block] = (scores @ values).float() * (2 * ctx.alpha)
            by_node += scores.sum(0)
            of_nodes += assignment.T @ of_pseudo[block]
            of_nodes.add_(scores.T @ queries[block], alpha=2 * ctx.alpha)
        of_nodes -= nodes * (2 * ctx.alpha * by_node).unsqueeze(1)
        return of_items, of_nodes, None, None


def nearest_nodes(vectors: Tensor, nodes: Tensor) -> Tensor:
    """Returns the hard assignment argmin_k |v - c_k|^2, ties to the smallest k, shape (N,).

    Args:
        vectors: Shape (N, D).
        nodes: Node vectors, shape (K, D).
    """
    half_norms = nodes.square().sum(1) / 2
    nearest = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    for block in _blocks(vectors, nodes):
        nearest[block] = torch.addmm(half_norms, vectors[block], nodes.T, alpha=-1).argmin(1)
    return nearest


def _blocks(items: Tensor, nodes: Tensor) -> list[slice]:
    step = max(1, NodeAttention.block_entries // len(nodes))
    return [slice(start, start + step) for start in range(0, len(items), step)]
