"""DisenGCN: neighbours are routed to the factor that explains the edge.

Reference:
    Jianxin Ma et al. "Disentangled Graph Convolutional Networks." in ICML 2019.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import EVERY
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.graph_model import GraphModel, last_to
from recbole_hill.model.bases.routing import (
    chunk_count,
    chunk_products,
    chunk_sums,
    edges_of,
    join_chunks,
    split_chunks,
)


class DisenGCN(GraphModel):
    """Layers of K chunks: z = unit(ReLU(W e + b)), then T rounds of c_u = z_u + sum_v A_uv p_v z_v.

    p_v is 1 / K in the first round, and then the softmax over the chunks of <z_v, c_u> / tau. The
    chunks of c are scaled to length 1 after every round but the last. Dropout comes after every
    layer, the last one included. All of this is as in the authors' code. (Their Algorithm 1 has c
    start at z, and scales after the last round, too. Their code has a ReLU after every layer, which
    changes nothing: no entry of a layer's output is negative.) The authors release their code on a
    page of their own; it was read in two public copies, of which one starts from z, with the
    uniform start as a comment. The model is trained by BPR. HILL's Table 3 quotes the row of DGCF's
    comparison, whose settings are unpublished.

    The authors sum over a sample of neighbours, of the same size for every node. Here all
    neighbours take part, weighted by the normalised adjacency A: a plain sum over many neighbours
    would be much larger than z_u.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_factors`` (K), ``n_iterations`` (T), ``tau``, ``dropout_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size, self.n_factors = config["embedding_size"], chunk_count(config)
        self.n_iterations, self.tau = config["n_iterations"], config["tau"]
        self.dropout_rate = config["dropout_rate"]
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(config["n_layers"]))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output of the last routed layer, and the table rows."""
        hidden = ego
        for layer, rows in zip(self.layers, last_to(nodes, len(self.layers)), strict=True):
            chunks = split_chunks(F.relu(layer(hidden)), self.n_factors)
            hidden = join_chunks(self.route(F.normalize(chunks, dim=2), rows))
            hidden = dropout(hidden, self.dropout_rate, self.training)
        return hidden, ego[nodes]

    def route(self, z: Tensor, nodes: Tensor | slice = EVERY) -> Tensor:
        """Neighbourhood routing: T rounds, which give the chunks of some nodes, (K, n, D / K).

        Args:
            z: Unit chunks of all nodes, shape (K, N, D / K).
            nodes: Shape (n,); or all.
        """
        edges = edges_of(self.graph, nodes)
        adjacency = self.graph.normalized().values()[edges.places]
        own, chosen = z[:, nodes], adjacency.new_full((self.n_factors, 1), 1 / self.n_factors)
        center = own + chunk_sums(edges, adjacency * chosen, z)
        for _ in range(1, self.n_iterations):
            logits = chunk_products(edges, F.normalize(center, dim=2), z)
            chosen = (logits / self.tau).softmax(0)
            center = own + chunk_sums(edges, adjacency * chosen, z)
        return center
