"""JKNet: graph convolutions with a readout of all layers, with the settings of MGDCF's authors.

References:
    Keyulu Xu et al. "Representation Learning on Graphs with Jumping Knowledge Networks."
    in ICML 2018.
    Yu Rong et al. "DropEdge: Towards Deep Graph Convolutional Networks on Node Classification."
    in ICLR 2020.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import product
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.softmax_graph import SoftmaxGraphModel


class JKNet(SoftmaxGraphModel):
    """h_k = dropout(LeakyReLU(A h_{k-1} W_k + b_k)); the mean of the input and all layers.

    With ``edge_dropout`` it is DropEdge.

    Settings: those of :class:`~recbole_hill.model.bases.softmax_graph.SoftmaxGraphModel`,
    ``hidden_dropout``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.hidden_dropout = config["hidden_dropout"]
        size = config["embedding_size"]
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(self.n_layers))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolutions and the mean readout; edges are dropped anew in every layer."""
        hidden = total = x
        for layer in self.layers:
            hidden = layer(product(self.adjacency(), hidden))
            hidden = dropout(F.leaky_relu(hidden, 0.2), self.hidden_dropout, self.training)
            total = total + hidden
        return total / (self.n_layers + 1)
