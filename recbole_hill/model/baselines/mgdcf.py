"""MGDCF: Markov graph diffusion of the embeddings, trained by a softmax loss.

Reference:
    Jun Hu et al. "MGDCF: Distance Learning via Markov Graph Diffusion for Neural Collaborative
    Filtering." in TKDE 2024.
"""

import torch
from torch import Tensor

from recbole_hill.data.polynomial import polynomial
from recbole_hill.model.bases.softmax_graph import SoftmaxGraphModel


class MGDCF(SoftmaxGraphModel):
    """Z_k = beta A Z_{k-1} + alpha X, divided by gamma = beta^k + alpha sum_{i<k} beta^i.

    This is the user-item ("hetero") variant. With alpha = beta = 1 it is LightGCN's mean of layers.
    Edge dropout is drawn once per forward pass, and drops both directions of an edge together, so
    that the sparse product is its own backward. (The authors drop each direction separately.) Nodes
    have no edge to themselves. This follows the authors' TensorFlow code, from whose commands the
    settings are taken; their PyTorch code adds such edges.

    Settings: those of ``SoftmaxGraphModel``, ``alpha``, ``beta`` (1 - alpha if not given).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.alpha, beta = config["alpha"], config["beta"]
        self.beta = 1 - self.alpha if beta is None else beta
        weights = self.beta ** torch.arange(self.n_layers + 1.0)  # of A^0 X, A^1 X, ...
        weights[:-1] *= self.alpha
        self.gamma = weights.sum().item()
        self.register_buffer("weights", weights / self.gamma, persistent=False)

    def convolve(self, x: Tensor) -> Tensor:
        """Returns the diffused node vectors."""
        return polynomial(self.adjacency(), x, self.weights)
