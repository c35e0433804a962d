"""GC-MC in the form of NGCF's comparison: one convolution, a dense layer, BPR.

Reference:
    Rianne van den Berg et al. "Graph Convolutional Matrix Completion." in SIGKDD 2018; this form is
    NGCF's comparison (SIGIR 2019).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.bases.pretrained import PretrainedStart


class GCMC(PretrainedStart, GraphModel):
    """Vectors dropout(V LeakyReLU(W P E + w) + v), P = D^-1 A the mean over neighbours.

    RecBole's ``GCMC`` (``recbole.GCMC`` here) is another model: one-hot features, two classes,
    cross-entropy. Here the L2 term is on the batch's output vectors, as in NGCF's code. NGCF's rows
    start from MF (``pretrained_from``). NGCF's node dropout is not implemented: its rate was tuned
    and is unpublished.

    Settings: ``MatrixFactorization``'s, ``dropout_rate``, ``pretrained_from``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.dropout_rate = config["dropout_rate"]
        size = config["embedding_size"]
        self.convolution, self.dense = nn.Linear(size, size), nn.Linear(size, size)
        for layer in (self.convolution, self.dense):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output of the convolution and the dense layer, and the table rows."""
        means = self.graph.neighbour_means(ego, nodes)
        hidden = F.leaky_relu(self.convolution(means), 0.2)
        return dropout(self.dense(hidden), self.dropout_rate, self.training), ego[nodes]

    def bpr_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        tables: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """BPR, plus L2 of the batch's output vectors instead of the tables' rows."""
        return super().bpr_loss(users, items, user, positive, negative, (users, items))
