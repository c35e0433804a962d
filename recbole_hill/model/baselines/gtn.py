"""GTN: embeddings smoothed by a graph trend filter, which trusts some edges less.

Reference:
    Wenqi Fan et al. "Graph Trend Filtering Networks for Recommendation." in SIGIR 2022.
"""

import torch.nn.functional as F
from torch import Tensor

from recbole_hill.model.graph_model import GraphModel
from recbole_hill.one_of import one_of


class GTN(GraphModel):
    """Minimises |X - E|^2 / 2 + lambda |C X|_1 over X by K steps on the dual Z (Eq. 12-15).

        Z <- clip(Z + beta C (E - C^T Z), -lambda, lambda),    X = E - C^T Z

    C has one row per edge, +1 at the user and -1 at the item, its columns divided by the root of
    1 + the node's degree, which bounds C^T C by 2, as the paper's normalised incidence matrix does
    and the authors' public code, whose graph is 0/1. (``incidence_degree: adjacency`` sums rows of
    the normalised adjacency instead, which leaves C^T C as large as the degrees: from small starts
    it diverges until the clip holds it.) X gets dropout; layers are not averaged. The authors ran
    D = 256.

    Settings: :class:`~recbole_hill.model.factorization.MatrixFactorization`'s, ``n_layers`` (K),
    ``trend_weight`` (lambda), ``dual_step`` (beta), ``incidence_degree`` (graph | adjacency),
    ``dropout_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers, self.trend_weight = config["n_layers"], config["trend_weight"]
        self.dual_step, self.dropout_rate = config["dual_step"], config["dropout_rate"]
        half = len(self.graph.mirror)  # the users' rows hold each edge once
        self.register_buffer("edge_user", self.graph.row[:half].clone(), persistent=False)
        self.register_buffer("edge_item", self.graph.col[:half].clone(), persistent=False)
        degree = self.graph.degree
        kind = one_of("incidence_degree", config["incidence_degree"], ("graph", "adjacency"))
        if kind == "adjacency":
            degree = self.graph.normalized().sum(1, keepdim=True).to_dense().squeeze(1)
        scale = (1 + degree).rsqrt().unsqueeze(1)
        self.register_buffer("scale", scale, persistent=False)

    def differences(self, nodes: Tensor) -> Tensor:
        """Returns C nodes: each edge's scaled user vector less its item's, shape (E, D)."""
        scaled = self.scale * nodes
        return scaled[self.edge_user] - scaled[self.edge_item]

    def spread(self, edges: Tensor) -> Tensor:
        """Returns C^T edges, shape (U + I, D)."""
        nodes = edges.new_zeros(len(self.graph), edges.shape[1])
        nodes = nodes.index_add(0, self.edge_user, edges)
        return self.scale * nodes.index_add(0, self.edge_item, -edges)

    def propagate(self, ego: Tensor) -> Tensor:
        """The trend filter."""
        nodes, dual = ego, 0.0
        for _ in range(self.n_layers):
            dual = dual + self.dual_step * self.differences(nodes)
            dual = dual.clamp(-self.trend_weight, self.trend_weight)
            nodes = ego - self.spread(dual)
        return F.dropout(nodes, self.dropout_rate, self.training)
