"""PinSage in the form of NGCF's comparison: GraphSAGE on the user-item graph, BPR.

Reference:
    Rex Ying et al. "Graph Convolutional Neural Networks for Web-Scale Recommender Systems."
    in SIGKDD 2018; this form is NGCF's comparison (SIGIR 2019).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.model.bases.graph_model import GraphModel, last_to
from recbole_hill.model.bases.pretrained import PretrainedStart
from recbole_hill.model.losses import unit


class PinSage(PretrainedStart, GraphModel):
    """Layers h <- |ReLU(W [h; mean_v ReLU(Q h_v + q)] + w)|, and of the last G_2 ReLU(G_1 h + g).

    The bars |.| scale to length 1 (Algorithm 1). Without the two dense maps after the last layer
    (Algorithm 2) all scores would lie in [0, 1], where BPR hardly orders anything. All neighbours
    take part with equal weight: the code behind the published row is unpublished (NGCF's repository
    has NGCF, BPR-MF, NMF, and GCN and GC-MC as kinds of layer), and nothing says that it used
    random-walk importance. The paper's section 4.2.2 says: two layers, hidden vectors as wide as
    the tables. NGCF's rows start from MF (``pretrained_from``). PyTorch
    Geometric's ``SAGEConv`` lacks the inner ReLU.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``pretrained_from``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size, depth = config["embedding_size"], config["n_layers"]
        self.inner = nn.ModuleList(nn.Linear(size, size) for _ in range(depth))
        self.outer = nn.ModuleList(nn.Linear(2 * size, size) for _ in range(depth))
        self.hidden, self.readout = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        for layer in (*self.inner, *self.outer, self.hidden):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.readout.weight)

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the read-out of the last layer, and the table rows."""
        hidden, reached = ego, last_to(nodes, len(self.inner))
        for inner, outer, rows in zip(self.inner, self.outer, reached, strict=True):
            near = self.graph.neighbour_means(F.relu(inner(hidden)), rows)
            hidden = unit(F.relu(outer(torch.cat((hidden[rows], near), 1))))
        return self.readout(F.relu(self.hidden(hidden))), ego[nodes]
