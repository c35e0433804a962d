"""GAT: graph attention over the user-item graph, trained by BPR.

Reference:
    Petar Velickovic et al. "Graph Attention Networks." in ICLR 2018; as a recommender: the
    comparison in NGAT4Rec (arXiv 2010.12256).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import EVERY, InteractionGraph
from recbole_hill.model.bases.attention import segment_softmax
from recbole_hill.model.bases.graph_model import GraphModel, last_to, rows_of
from recbole_hill.model.bases.routing import chunk_sums, edges_of, split_chunks


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

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of the tables and the layers, and the table rows."""
        layers = [ego]
        for layer, rows in zip(self.layers, last_to(nodes, len(self.layers)), strict=True):
            below = F.elu(layers[-1]) if len(layers) > 1 else ego
            layers.append(layer(self.graph, below, rows))
        own, *others = rows_of(layers, nodes)
        return sum(others, own) / len(layers), own


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

    def forward(self, graph: InteractionGraph, x: Tensor, nodes: Tensor | slice = EVERY) -> Tensor:
        """Returns the next layer's vectors of some nodes, (n, D).

        Args:
            graph: Graph of N nodes.
            x: Vectors of all nodes, shape (N, D).
            nodes: Shape (n,); or all.
        """
        edges = edges_of(graph, nodes)
        values = split_chunks(self.project(x), len(self.read))  # (heads, N, D)
        reader = torch.einsum("hnd,hd->hn", values[:, nodes], self.reader)
        read = torch.einsum("hnd,hd->hn", values, self.read)
        logits = F.leaky_relu(reader[:, edges.row] + read[:, edges.col], 0.2)
        n = reader.shape[1]
        weights = torch.stack([segment_softmax(head, edges.row, n) for head in logits])
        return chunk_sums(edges, weights, values).mean(0) + self.bias
