"""DisenGCN: neighbours are routed to the factor that explains the edge.

Reference:
    Jianxin Ma et al. "Disentangled Graph Convolutional Networks." in ICML 2019.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.model.graph_model import GraphModel
from recbole_hill.model.routing import chunk_products, chunk_sums, join_chunks, split_chunks


class DisenGCN(GraphModel):
    """Layers of K chunks: z = unit(ReLU(W e + b)), then T times c_u = unit(z_u + sum_v p_v z_v).

    p_v = softmax over the chunks of <z_v, c_u> / tau, c starting at z (Algorithm 1); ReLU and
    dropout between layers. Trained by BPR: the setting of the row in HILL's Table 3 (DGCF's
    comparison) is unpublished. The source samples neighbours; here all take part.

    Settings: :class:`~recbole_hill.model.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_factors`` (K), ``n_iterations`` (T), ``tau``, ``dropout_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size, self.n_factors = config["embedding_size"], config["n_factors"]
        self.n_iterations, self.tau = config["n_iterations"], config["tau"]
        self.dropout_rate = config["dropout_rate"]
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(config["n_layers"]))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def propagate(self, ego: Tensor) -> Tensor:
        """The routed layers."""
        nodes = ego
        for i, layer in enumerate(self.layers):
            if i:
                nodes = F.dropout(F.relu(nodes), self.dropout_rate, self.training)
            chunks = split_chunks(F.relu(layer(nodes)), self.n_factors)
            nodes = join_chunks(self.route(F.normalize(chunks, dim=2)))
        return nodes

    def route(self, z: Tensor) -> Tensor:
        """Neighbourhood routing: T rounds over unit chunks of nodes, (K, N, D / K)."""
        center = z
        for _ in range(self.n_iterations):
            chosen = (chunk_products(self.graph, center, z) / self.tau).softmax(0)
            center = F.normalize(z + chunk_sums(self.graph, chosen, z), dim=2)
        return center
