"""The user-item graph of the train set, shared by every graph model.

Users and items share one numbering: node ``u`` is user ``u``, node ``n_users + i`` is item ``i``.
RecBole's padding user and padding item (id 0) are nodes without edges.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_hill.data.ragged import ranges
from recbole_hill.host.dropout import dropout

T = TypeVar("T")
#: Stands for all nodes, where a function can also take some.
EVERY = slice(None)


class InteractionGraph(nn.Module):
    """Symmetric adjacency matrix A in CSR form, and cheap re-weighted views of it.

    The index arrays exist once. A re-weighted view is only another array of edge values. A node- or
    edge-dropped view has the kept edges alone, so that a product with it costs as much less.

    An edge {v, w} has two entries, (v, w) and (w, v). Edges are numbered by the entries in which v
    is below w, in the order of the CSR form. If all edges are of users and items, these entries are
    the users' rows.

    Args:
        interactions: Binary train matrix, shape (U, I). Repeated entries count once.
        among_items: Edges between items, each at least once, shape (I, I); None if there are none.

    Attributes:
        n_users: U.
        n_items: I.
        n_edges: Number of edges.
        edge: Number of the edge of every entry, shape (2 * n_edges,).
        degree: Number of distinct neighbours of every node, shape (U + I,).
    """

    def __init__(self, interactions: sp.spmatrix, among_items: sp.spmatrix | None = None):
        super().__init__()
        self.n_users, self.n_items = interactions.shape
        matrix = sp.csr_matrix(interactions, dtype=np.float32)
        if among_items is not None:
            among_items = among_items + among_items.T
        parts = [[None, matrix], [matrix.T, among_items]]
        adjacency = sp.bmat(parts, format="csr", dtype=np.float32)
        adjacency.sum_duplicates()
        rows = np.repeat(np.arange(len(self)), np.diff(adjacency.indptr))
        first = np.flatnonzero(rows < adjacency.indices)
        second = np.flatnonzero(rows > adjacency.indices)
        second = second[np.lexsort((rows[second], adjacency.indices[second]))]
        edge = np.empty(len(rows), dtype=np.int64)
        edge[first] = edge[second] = np.arange(len(first))
        self.n_edges = len(first)
        for name, array in {
            "crow": adjacency.indptr.astype(np.int64),
            "col": adjacency.indices.astype(np.int64),
            "row": rows,
            "edge": edge,
            "first": first,
            "degree": np.diff(adjacency.indptr).astype(np.float32),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self._made: dict = {}

    def __len__(self) -> int:
        return self.n_users + self.n_items

    def normalized(self, left: float = 0.5, right: float = 0.5) -> Tensor:
        """Returns D^-left A D^-right of the whole graph, sparse CSR, shape (U + I, U + I).

        Its transpose is ``normalized(right, left)``.
        """

        def make() -> Tensor:
            weights = self.weights(self.crow, self.row, self.col, left, right)
            return _csr(self.crow, self.col, weights)

        return self._once(("normalized", left, right), make)

    def sides(self) -> tuple[Tensor, Tensor]:
        """Returns the users' rows of the normalised graph and the items', as matrices of their own.

        All edges must be of users and items. Then one matrix is the transpose of the other.

        Returns:
            Sparse CSR, shapes (U, I) and (I, U).
        """

        def make() -> tuple[Tensor, Tensor]:
            values, users, end = self.normalized().values(), self.n_users, self.n_edges
            shape = self.n_users, self.n_items
            return (
                _csr(self.crow[: users + 1], self.col[:end] - users, values[:end], shape),
                _csr(self.crow[users:] - end, self.col[end:], values[end:], shape[::-1]),
            )

        return self._once("sides", make)

    def drop_nodes(self, rate: float) -> Tensor:
        """Returns the normalised sub-graph that keeps each node with probability ``1 - rate``.

        A dropped node loses all its edges, so its row and its column are zero. The degrees are the
        degrees of the sub-graph (SGL's node dropout, SIGIR 2021, Eq. 6).
        """
        kept = torch.rand(len(self), device=self.degree.device) >= rate
        return self._subgraph(kept[self.row] & kept[self.col])

    def drop_edges(self, rate: float) -> Tensor:
        """Returns the normalised sub-graph that keeps each edge with probability ``1 - rate``."""
        kept = torch.rand(self.n_edges, device=self.degree.device) >= rate
        return self._subgraph(kept[self.edge])

    def plain(self) -> Tensor:
        """Returns A, every entry 1, sparse CSR, shape (U + I, U + I)."""

        def make() -> Tensor:
            return _csr(self.crow, self.col, torch.ones_like(self.col, dtype=torch.float32))

        return self._once("plain", make)

    def neighbour_means(self, x: Tensor, nodes: Tensor | slice = EVERY) -> Tensor:
        """Returns D^-1 A x, the mean of x over each node's neighbours; differentiable.

        A node without neighbours has the mean 0.

        Args:
            x: Shape (U + I, D).
            nodes: The nodes whose means are asked for, shape (n,); or all.

        Returns:
            Shape (n, D).
        """
        degree = self.degree[nodes].clamp_min(1).unsqueeze(1)
        return product(self.plain(), x, nodes) / degree

    def dropout(self, rate: float) -> Tensor:
        """Returns the normalised graph with edges dropped, the others scaled by 1 / (1 - rate).

        The degrees are the degrees of the whole graph. Both directions of an edge are dropped
        together.
        """
        if not rate:
            return self.normalized()
        of_edges = dropout(self.normalized().values()[self.first], rate)
        return _csr(self.crow, self.col, of_edges[self.edge])

    def reverse(self) -> Tensor:
        """Returns the place of entry (w, v) for every entry (v, w), shape (2 * n_edges,)."""

        def make() -> Tensor:
            by_edge = self.edge.argsort(stable=True).view(-1, 2)  # both entries of each edge
            place = torch.empty_like(self.edge)
            place[by_edge] = by_edge.flip(1)
            return place

        return self._once("reverse", make)

    def rows(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the adjacency rows of some nodes, in the order given, repetitions included.

        Args:
            nodes: Shape (n,).

        Returns:
            The start of each row and the end of the last row, shape (n + 1,); and for each of the
            rows' E edges its position in ``nodes`` and its neighbour, each of shape (E,).
        """
        crow, places = _some_rows(self.crow, nodes)
        row = torch.repeat_interleave(crow.diff())
        return crow, row, self.col[places]

    def weights(
        self, crow: Tensor, row: Tensor, col: Tensor, left: float = 0.5, right: float = 0.5
    ) -> Tensor:
        """Returns d_v^-left d_w^-right for the edges of a symmetric sub-graph, with its degrees d.

        Args:
            crow: Start of each node's edges, and the end of the last, shape (U + I + 1,).
            row: The node v of each edge, shape (E,).
            col: Its neighbour w, shape (E,).
            left: Exponent of the node's degree.
            right: Exponent of the neighbour's degree.
        """
        return edge_weights(crow.diff().float(), row, col, left, right)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Returns what ``make`` returns, which is made once on each device."""
        key = key, self.crow.device
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _subgraph(self, kept: Tensor) -> Tensor:
        """Returns the normalised sub-graph of the kept edges, (E,) bool, both directions alike."""
        places = kept.nonzero().squeeze(1)
        crow = F.pad(kept.cumsum(0), (1, 0))[self.crow]
        row, col = self.row[places], self.col[places]
        return _csr(crow, col, self.weights(crow, row, col))


def propagate(matrix: Tensor, ego: Tensor, n_layers: int, *, with_ego: bool) -> Tensor:
    """LightGCN propagation (SIGIR 2020, Eq. 7): the mean of X, AX, ..., A^L X.

    Args:
        matrix: Symmetric normalised adjacency A, sparse CSR, shape (N, N).
        ego: Layer-0 embeddings X, shape (N, D).
        n_layers: Number of products L: at least 1, or 0 if ``with_ego``.
        with_ego: Whether the mean includes layer 0.

    Returns:
        Node embeddings, shape (N, D).
    """
    if not n_layers:
        return ego
    return MeanOfLayers.apply(matrix, ego, n_layers, with_ego)


def propagate_to(
    nodes: Tensor, matrix: Tensor, ego: Tensor, n_layers: int, *, with_ego: bool
) -> tuple[Tensor, Tensor]:
    """Returns :func:`propagate` for some nodes alone, and their layer 0, which L2 terms need.

    On a CPU the last product, and the first product of the backward, use only the edges of these
    nodes: a seventh of all edges for a batch of 2,048 of Gowalla's interactions.

    Args:
        nodes: Shape (n,); repeated nodes are computed once.
        matrix: As in :func:`propagate`, shape (N, N).
        ego: Shape (N, D).
        n_layers: L.
        with_ego: Whether the mean includes layer 0.

    Returns:
        The nodes' embeddings and the nodes' rows of ``ego``, both of shape (n, D).
    """
    if not n_layers or ego.device.type != "cpu":
        return propagate(matrix, ego, n_layers, with_ego=with_ego)[nodes], ego[nodes]
    nodes, places = torch.unique(nodes, return_inverse=True)
    below = ego if n_layers == 1 else propagate(matrix, ego, n_layers - 1, with_ego=True)
    last, own = RowsOfProduct.apply(matrix, below, nodes, True)  # last: the mean of L layers
    if n_layers > 1:
        own = ego[nodes]
    vectors = torch.lerp(own, last, n_layers / (n_layers + 1)) if with_ego else last
    return vectors[places], own[places]


def product(
    matrix: Tensor, x: Tensor, nodes: Tensor | slice = EVERY, *, transposed: Tensor | None = None
) -> Tensor:
    """Returns ``matrix @ x``, or some of its rows; differentiable in ``x``.

    On a CPU the product for some rows, and its backward, use only the entries of these rows.

    Args:
        matrix: Sparse CSR, shape (M, N).
        x: Shape (N, D).
        nodes: Row numbers, shape (n,); or all. Repeated ones are computed again.
        transposed: The transposed matrix, sparse CSR, shape (N, M); None: the matrix is symmetric.

    Returns:
        Shape (n, D).
    """
    if isinstance(nodes, slice) or x.device.type != "cpu":
        return Product.apply(matrix, matrix if transposed is None else transposed, x)[nodes]
    return RowsOfProduct.apply(matrix, x, nodes, False)[0]


class RowsOfProduct(torch.autograd.Function):
    """Some rows of ``matrix @ x``, and the same rows of x if asked for, on a CPU.

    One function returns both because their gradients then share one array of x's size.

    Args (of ``apply``):
        matrix: Sparse CSR, shape (M, N).
        x: Shape (N, D).
        nodes: Row numbers, shape (n,). Repeated ones are computed again.
        with_own: Whether the rows of x are asked for.

    Returns:
        The rows of the product and the rows of x or None, of shape (n, D).
    """

    @staticmethod
    def forward(
        ctx, matrix: Tensor, x: Tensor, nodes: Tensor, with_own: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the rows of the product, and the rows of x or None."""
        crow, places = _some_rows(matrix.crow_indices(), nodes)
        ctx.rows = matrix.values()[places], matrix.col_indices()[places], crow
        ctx.nodes, ctx.n = nodes, len(x)
        return _weighted_sums(*ctx.rows, x), x[nodes] if with_own else None

    @staticmethod
    @once_differentiable
    def backward(ctx, of_product: Tensor, of_own: Tensor | None) -> tuple[None, Tensor, None, None]:
        """Returns the gradient of ``x``."""
        values, col, crow = (part.numpy() for part in ctx.rows)
        transposed = sp.csr_matrix((values, col, crow), (len(ctx.nodes), ctx.n)).tocsc()
        parts = transposed.data, transposed.indices, transposed.indptr
        gradient = _weighted_sums(*map(torch.from_numpy, parts), of_product.contiguous())
        if of_own is not None:
            gradient.index_add_(0, ctx.nodes, of_own)
        return None, gradient, None, None


class MeanOfLayers(torch.autograd.Function):
    """:func:`propagate` with a memory-saving backward.

    The matrix is symmetric, so the backward is the same polynomial of the same matrix. Both use
    Horner's scheme, X + A (X + A (X + ...)), in one array beside the input. No layer is kept.
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, x: Tensor, n_layers: int, with_ego: bool) -> Tensor:
        """Returns the mean of the layers, shape (N, D)."""
        ctx.polynomial = matrix, n_layers, with_ego
        return _mean_of_layers(matrix, x, n_layers, with_ego)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        """Returns the gradient of ``x``; the matrix has none."""
        matrix, *polynomial = ctx.polynomial
        return None, _mean_of_layers(matrix, gradient.contiguous(), *polynomial), None, None


class Product(torch.autograd.Function):
    """``matrix @ x``; the backward is the product with the transposed matrix.

    PyTorch's own backward of a sparse product makes the transposed matrix anew each time.

    Args (of ``apply``):
        matrix: Sparse CSR, shape (M, N).
        transposed: Sparse CSR, shape (N, M).
        x: Shape (N, D).
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, transposed: Tensor, x: Tensor) -> Tensor:
        """Returns ``matrix @ x``, shape (M, D)."""
        ctx.transposed = transposed
        return _product(matrix, x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None, Tensor]:
        """Returns the gradient of ``x``; the matrix has none."""
        return None, None, _product(ctx.transposed, gradient.contiguous())


def _mean_of_layers(matrix: Tensor, x: Tensor, n_layers: int, with_ego: bool) -> Tensor:
    total = x
    for layer in range(n_layers, 0, -1):
        total = _product(matrix, total)
        if with_ego or layer > 1:
            total.add_(x)
    return total.div_(n_layers + with_ego)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    """Returns ``matrix @ x``, shape (N, D)."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return matrix @ x
    return _weighted_sums(matrix.values(), matrix.col_indices(), matrix.crow_indices(), x)


def _weighted_sums(values: Tensor, col: Tensor, crow: Tensor, x: Tensor) -> Tensor:
    """Returns the product of a CSR matrix and ``x``, as weighted sums of rows of x.

    PyTorch's kernel for such sums fetches rows ahead. On a CPU it is three times as fast as
    PyTorch's sparse product, which waits for memory on Gowalla.
    """
    return F.embedding_bag(
        col, x, crow, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def _some_rows(crow: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the starts of a CSR matrix's rows ``nodes``, and the places of their entries."""
    starts = crow[nodes]
    counts = crow[nodes + 1] - starts
    return torch.cat((counts.new_zeros(1), counts.cumsum(0))), ranges(starts, counts)


def from_scipy(matrix: sp.csr_matrix) -> Tensor:
    """Returns a square sparse matrix as a CSR tensor of float32."""
    matrix.sort_indices()
    parts = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    return _csr(*parts, torch.from_numpy(matrix.data.astype(np.float32)))


def _csr(crow: Tensor, col: Tensor, values: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Returns a sparse CSR matrix; if no size is given, a square one."""
    size = size or (len(crow) - 1, len(crow) - 1)
    return torch.sparse_csr_tensor(crow, col, values, size=size, check_invariants=False)


def edge_weights(degree: Tensor, row: Tensor, col: Tensor, left: float, right: float) -> Tensor:
    """Returns d_v^-left d_w^-right for edges (v, w), and 0 where a node has no edges.

    Args:
        degree: The degree d of each node, float, shape (N,).
        row: The node v of each edge, shape (E,).
        col: Its neighbour w, shape (E,).
        left: Exponent of the node's degree.
        right: Exponent of the neighbour's degree.
    """

    def scale(power: float) -> Tensor:
        return torch.where(degree > 0, degree.clamp_min(1).pow(-power), torch.zeros_like(degree))

    of_row = scale(left)
    of_col = of_row if left == right else scale(right)
    return of_row[row] * of_col[col]
