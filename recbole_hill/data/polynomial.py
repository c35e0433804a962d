"""Polynomials of a graph's matrix, applied to the nodes' vectors."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_hill.data.graph import EVERY, product


def polynomial(
    matrix: Tensor, x: Tensor, coefficients: Tensor, nodes: Tensor | slice = EVERY
) -> Tensor:
    """Returns c_0 X + c_1 AX + ... + c_L A^L X, or some of its rows.

    Differentiable in X and the coefficients c. No power A^k X is kept for the backward.

    Args:
        matrix: Symmetric A, sparse CSR, shape (N, N).
        x: Shape (N, D).
        coefficients: Shape (L + 1,); L at least 1 for some rows.
        nodes: Row numbers, shape (n,); or all. Repeated ones are computed again.

    Returns:
        Shape (n, D).
    """
    if isinstance(nodes, slice):
        return Polynomial.apply(matrix, x, coefficients)
    below = Polynomial.apply(matrix, x, coefficients[1:])
    return coefficients[0] * x[nodes] + product(matrix, below, nodes)


class Polynomial(torch.autograd.Function):
    """:func:`polynomial`; the backward is the same polynomial, because the matrix is symmetric."""

    @staticmethod
    def forward(ctx, matrix: Tensor, x: Tensor, coefficients: Tensor) -> Tensor:
        """Returns the polynomial, shape (N, D)."""
        ctx.matrix = matrix
        ctx.save_for_backward(x, coefficients)
        return _horner(matrix, x, coefficients.tolist())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, Tensor | None]:
        """Returns the gradients of ``x`` and, if they are learnt, of the coefficients."""
        x, coefficients = ctx.saved_tensors
        gradient = gradient.contiguous()
        if not ctx.needs_input_grad[2]:
            return None, _horner(ctx.matrix, gradient, coefficients.tolist()), None
        # The gradient of c_k is <G, A^k X> = <A^k G, X>.
        lowest, *others = coefficients.tolist()
        power, of_x = gradient, lowest * gradient
        of_coefficients = [torch.dot(power.flatten(), x.flatten())]
        for coefficient in others:
            power = product(ctx.matrix, power)
            of_x.add_(power, alpha=coefficient)
            of_coefficients.append(torch.dot(power.flatten(), x.flatten()))
        return None, of_x, torch.stack(of_coefficients)


def _horner(matrix: Tensor, x: Tensor, coefficients: list[float]) -> Tensor:
    """Returns the polynomial of the matrix times x, by Horner's scheme, shape (N, D)."""
    *lower, highest = coefficients
    total = highest * x
    for coefficient in reversed(lower):
        total = product(matrix, total)
        if coefficient:
            total.add_(x, alpha=coefficient)
    return total
