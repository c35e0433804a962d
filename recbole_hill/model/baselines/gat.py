"""GAT: graph attention over the user-item graph, trained by BPR.

Reference:
    Petar Velickovic et al. "Graph Attention Networks." in ICLR 2018; as a recommender: the
    comparison in NGAT4Rec (arXiv 2010.12256).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_softmax
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.bases.routing import chunk_sums, split_chunks


class GAT(GraphModel):
    """Attention layers with ELU between them; the vectors are the mean of the tables and layers.

    HILL's Table 3 quotes a row of NGAT4Rec's comparison, with unpublished settings. Its .1401/.1401
    looks like a misprint (BARS lists .1501/.1233). NGAT4Rec's repository
    (ShortVideoRecommendation/NGAT4Rec) has no GAT. It has light variants of it, which take the
    softmax of LeakyReLU and have neither W nor ELU. The mean over the layers is taken from these.
    They sample neighbours, and have an L2 term of the final vectors. The one printed command, of
    NGAT4Rec itself, has 64 neighbours and 32 of each, B 1024, L2 1e-5, and a rate of 1e-4 that
    falls by 4 % in 50 epochs. Here all neighbours take part, but the node itself does not, and the
    L2 term is of the tables.

    A layer computes the same as torch_geometric's ``GATConv(concat=False, add_self_loops=False)``,
    without its arrays of edges by dimensions: on Gowalla in a ninth of the time.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_heads`` (averaged).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = config["embedding_size"]
        self.layers = nn.ModuleList(
            _Attention(size, config["n_heads"]) for _ in range(config["n_layers"])
        )

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the mean of the tables and the layers."""
        nodes, total = ego, ego
        for i, layer in enumerate(self.layers):
            nodes = layer(self.graph, F.elu(nodes) if i else nodes)
            total = total + nodes
        return total / (len(self.layers) + 1)


class _Attention(nn.Module):
    """h_u = b + mean over heads of sum_v softmax_v(LeakyReLU(a_1 W e_u + a_2 W e_v)) W e_v."""

    def __init__(self, size: int, n_heads: int):
        super().__init__()
        self.project = nn.Linear(size, n_heads * size, bias=False)
        self.reader = nn.Parameter(torch.empty(n_heads, size))
        self.read = nn.Parameter(torch.empty(n_heads, size))
        self.bias = nn.Parameter(torch.zeros(size))
        for weight in (self.project.weight, self.reader, self.read):
            nn.init.xavier_uniform_(weight)

    def forward(self, graph: InteractionGraph, nodes: Tensor) -> Tensor:
        """Returns the next layer's node vectors, (N, D), from node vectors of the same shape."""
        values = split_chunks(self.project(nodes), len(self.read))  # (heads, N, D)
        reader, read = (torch.einsum("hnd,hd->hn", values, a) for a in (self.reader, self.read))
        logits = F.leaky_relu(reader[:, graph.row] + read[:, graph.col], 0.2)
        weights = torch.stack([segment_softmax(head, graph.row, len(graph)) for head in logits])
        return chunk_sums(graph, weights, values).mean(0) + self.bias
