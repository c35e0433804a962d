"""GTN: embeddings smoothed by a graph trend filter, which gives some edges less trust.

Reference:
    Wenqi Fan et al. "Graph Trend Filtering Networks for Recommendation." in SIGIR 2022.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_hill.data.graph import from_scipy, product
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.graph_model import GraphModel, last_to


class GTN(GraphModel):
    """Minimises |X - E|^2 / 2 + lambda |C X|_1 over X by K steps on the dual Z (Eq. 12-15).

        Z <- clip(Z + beta C (E - C^T Z), -lambda, lambda),    X = E - C^T Z

    C has one row per edge, +1 at the user and -1 at the item. Its columns are divided by the root
    of 1 + the node's degree. This bounds C^T C by 2, as the paper's normalised incidence matrix
    does, and as the authors' public code does, whose graph is 0/1. ``incidence_degree: adjacency``
    uses row sums of the normalised adjacency as degrees. Then C^T C is as large as the degrees, and
    from small starts the iteration diverges until the clip stops it. X gets dropout. Layers are not
    averaged. The authors ran D = 256.

    As long as no entry of Z reaches lambda, the filter is linear: X = (1 - beta C^T C)^K E, which
    takes K sparse products of nodes instead of arrays of edges. A bound of |Z| decides.

    Settings: ``MatrixFactorization``'s, ``n_layers`` (K), ``trend_weight`` (lambda), ``dual_step``
    (beta), ``incidence_degree`` (graph | adjacency), ``dropout_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers, self.trend_weight = config["n_layers"], config["trend_weight"]
        self.dual_step, self.dropout_rate = config["dual_step"], config["dropout_rate"]
        degree = self.graph.degree
        kind = config["incidence_degree"]
        if kind == "adjacency":
            degree = self.graph.normalized().sum(1, keepdim=True).to_dense().squeeze(1)
        scale = (1 + degree).rsqrt().unsqueeze(1).where(self.graph.degree.unsqueeze(1) > 0, 0)
        self.register_buffer("scale", scale, persistent=False)
        smoothing, reach = self.linear_step()
        self.register_buffer("smoothing", smoothing, persistent=False)
        self.reach = reach

    def linear_step(self) -> tuple[Tensor, float]:
        """Returns M = 1 - beta C^T C, and the bound of |Z| over the largest |scale E|.

        Without clips X = M^K E. In units of the scale, a row of M has absolute entries of at most
        r in sum, so step j enlarges scale X to at most r^j times scale E, and C X to twice that.
        """
        graph, beta = self.graph, self.dual_step
        scale, crow, col = self.scale.squeeze(1).numpy(), graph.crow.numpy(), graph.col.numpy()
        between = beta * scale[graph.row.numpy()] * scale[col]
        own = beta * scale**2 * graph.degree.numpy()
        shape = len(graph), len(graph)  # the last item may have no edge
        matrix = sp.csr_matrix((between, col, crow), shape) + sp.diags(1 - own)
        largest = float((np.abs(1 - own) + own).max())
        reach = 2 * beta * sum(largest**step for step in range(self.n_layers))
        return from_scipy(matrix), reach

    def differences(self, nodes: Tensor) -> Tensor:
        """Returns C nodes: each edge's scaled user vector minus its scaled item vector, (E, D)."""
        return _LinearMap.apply(self.scale * nodes, self._edge_differences, self._node_sums)

    def spread(self, edges: Tensor) -> Tensor:
        """Returns C^T edges, shape (U + I, D)."""
        return self.scale * _LinearMap.apply(edges, self._node_sums, self._edge_differences)

    def _edge_differences(self, nodes: Tensor) -> Tensor:
        graph, half = self.graph, self.graph.n_edges  # the users' rows hold each edge once
        of_users = nodes.index_select(0, graph.row[:half])
        return of_users.sub_(nodes.index_select(0, graph.col[:half]))

    def _node_sums(self, edges: Tensor) -> Tensor:
        graph, half = self.graph, len(edges)
        of_users = torch.arange(half, device=edges.device), graph.crow[: self.n_users + 1]
        of_items = graph.edge[half:], graph.crow[self.n_users :] - half
        user, item = (
            F.embedding_bag(edge, edges, starts, mode="sum", include_last_offset=True)
            for edge, starts in (of_users, of_items)
        )
        return torch.cat((user, item.neg_()))

    def never_clips(self, ego: Tensor) -> bool:
        """Whether an upper bound of |Z| in all steps, from the largest entry, is within lambda."""
        with torch.no_grad():
            largest = (self.scale.squeeze(1) * torch.linalg.vector_norm(ego, torch.inf, 1)).max()
        return self.reach * largest.item() <= self.trend_weight

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the node vectors after the trend filter, and the table rows."""
        if self.never_clips(ego):
            x = ego
            for rows in last_to(nodes, self.n_layers):
                x = product(self.smoothing, x, rows)
        else:
            x = self.edge_by_edge(ego)[nodes]
        return dropout(x, self.dropout_rate, self.training), ego[nodes]

    def edge_by_edge(self, ego: Tensor) -> Tensor:
        """Returns the trend filter with its clips, (U + I, D)."""
        nodes, dual = ego, None
        for _ in range(self.n_layers):
            step = self.differences(self.dual_step * nodes)  # fewer rows to scale than after it
            dual = step if dual is None else dual + step
            dual = dual.clamp(-self.trend_weight, self.trend_weight)
            nodes = ego - self.spread(dual)
        return nodes


class _LinearMap(torch.autograd.Function):
    """A linear map whose backward is the given transposed map, without scattering entries."""

    @staticmethod
    def forward(ctx, x: Tensor, there: Callable, back: Callable) -> Tensor:
        ctx.back = back
        return there(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient.contiguous()), None, None
