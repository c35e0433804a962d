"""The user-item graph of the train set, shared by every graph model.

Users and items share one numbering: node ``u`` is user ``u``, node ``n_users + i`` is item ``i``.
RecBole's padding user and padding item (id 0) are nodes without edges.
"""

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_hill.data.ragged import ranges
from recbole_hill.host.dropout import dropout

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
        self._normalized: Tensor | None = None
        self._plain: Tensor | None = None
        self._reverse: Tensor | None = None

    def __len__(self) -> int:
        return self.n_users + self.n_items

    def normalized(self) -> Tensor:
        """Returns D^-1/2 A D^-1/2 of the whole graph, sparse CSR, shape (U + I, U + I)."""
        if self._normalized is None or self._normalized.device != self.crow.device:
            whole = self.crow, self.row, self.col
            self._normalized = _csr(self.crow, self.col, self.weights(*whole))
        return self._normalized

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
        if self._plain is None or self._plain.device != self.crow.device:
            ones = torch.ones_like(self.col, dtype=torch.float32)
            self._plain = _csr(self.crow, self.col, ones)
        return self._plain

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
        if self._reverse is None or self._reverse.device != self.crow.device:
            self._reverse = torch.empty_like(self.edge)
            by_edge = self.edge.argsort(stable=True).view(-1, 2)  # both entries of each edge
            self._reverse[by_edge] = by_edge.flip(1)
        return self._reverse

    def rows(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the adjacency rows of some nodes, in the order given, repetitions included.

        Args:
            nodes: Shape (n,).

        Returns:
            The start of each row and the end of the last row, shape (n + 1,); and for each of the
            rows' E edges its position in ``nodes`` and its neighbour, each of shape (E,).
        """
        crow, places = _some_rows(self.crow, nodes)
        row = torch.arange(len(nodes), device=nodes.device).repeat_interleave(crow.diff())
        return crow, row, self.col[places]

    def weights(self, crow: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Returns (d_u d_i)^-1/2 for the edges of a symmetric sub-graph, whose degrees d count.

        Args:
            crow: Start of each node's edges, and the end of the last, shape (U + I + 1,).
            row: The node of each edge, shape (E,).
            col: Its neighbour, shape (E,).
        """
        scale = inverse_root(crow.diff().float())
        return scale[row] * scale[col]

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
    last, own = RowsOfProduct.apply(matrix, below, nodes)  # last: the mean of L layers
    if n_layers > 1:
        own = ego[nodes]
    vectors = torch.lerp(own, last, n_layers / (n_layers + 1)) if with_ego else last
    return vectors[places], own[places]


def product(matrix: Tensor, x: Tensor, nodes: Tensor | slice = EVERY) -> Tensor:
    """Returns ``matrix @ x``, or some of its rows; differentiable in ``x``.

    On a CPU the product for some rows, and its backward, use only the entries of these rows.

    Args:
        matrix: Symmetric, sparse CSR, shape (N, N).
        x: Shape (N, D).
        nodes: Row numbers, shape (n,); or all. Repeated ones are computed again.

    Returns:
        Shape (n, D).
    """
    if isinstance(nodes, slice) or x.device.type != "cpu":
        return SymmetricProduct.apply(matrix, x)[nodes]
    return RowsOfProduct.apply(matrix, x, nodes)[0]


class RowsOfProduct(torch.autograd.Function):
    """Some rows of ``matrix @ x``, and the same rows of x, on a CPU.

    One function returns both because their gradients then share one array of x's size.

    Args (of ``apply``):
        matrix: Sparse CSR, shape (N, N).
        x: Shape (N, D).
        nodes: Row numbers, shape (n,). Repeated ones are computed again.

    Returns:
        The rows of the product and the rows of x, both of shape (n, D).
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, x: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the rows of the product and the rows of x."""
        crow, places = _some_rows(matrix.crow_indices(), nodes)
        ctx.rows = matrix.values()[places], matrix.col_indices()[places], crow
        ctx.nodes, ctx.n = nodes, len(x)
        return _weighted_sums(*ctx.rows, x), x[nodes]

    @staticmethod
    @once_differentiable
    def backward(ctx, of_product: Tensor, of_own: Tensor) -> tuple[None, Tensor, None]:
        """Returns the gradient of ``x``."""
        values, col, crow = (part.numpy() for part in ctx.rows)
        transposed = sp.csr_matrix((values, col, crow), (len(ctx.nodes), ctx.n)).tocsc()
        parts = transposed.data, transposed.indices, transposed.indptr
        gradient = _weighted_sums(*map(torch.from_numpy, parts), of_product.contiguous())
        return None, gradient.index_add_(0, ctx.nodes, of_own), None


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


class SymmetricProduct(torch.autograd.Function):
    """``matrix @ x`` for a symmetric sparse matrix; the backward is the same product.

    PyTorch's own backward of a sparse product transposes the matrix, which a symmetric matrix does
    not need.
    """

    @staticmethod
    def forward(ctx, matrix: Tensor, x: Tensor) -> Tensor:
        """Returns ``matrix @ x``, shape (N, D)."""
        ctx.matrix = matrix
        return _product(matrix, x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor]:
        """Returns the gradient of ``x``; the matrix has none."""
        return None, _product(ctx.matrix, gradient.contiguous())


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


def _csr(crow: Tensor, col: Tensor, values: Tensor) -> Tensor:
    """Returns a square sparse CSR matrix, shape (U + I, U + I)."""
    n = len(crow) - 1
    return torch.sparse_csr_tensor(crow, col, values, size=(n, n), check_invariants=False)


def inverse_root(degree: Tensor) -> Tensor:
    """Returns degree^-1/2, and 0 for nodes without edges."""
    return torch.where(degree > 0, degree.clamp_min(1).rsqrt(), torch.zeros_like(degree))
