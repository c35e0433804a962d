"""LightGCN++: LightGCN with unit vectors before each product, and other powers of the degrees.

Reference:
    Geon Lee et al. "Revisiting LightGCN: Unexpected Inflexibility, Inconsistency, and A Remedy
    Towards Improved Recommendation." in RecSys 2024.
"""

import torch
from torch import Tensor

from recbole_hill.data.graph import EVERY, product
from recbole_hill.model.baselines.bsl import LightGCNBSL
from recbole_hill.model.bases.graph_model import LightGCNModel, last_to, rows_of
from recbole_hill.model.losses import unit


class FlexiblePropagation:
    """A mixin, listed before a model of LightGCN's vectors: LightGCN++'s layers in their place.

    X_k = D^-alpha A D^-beta (X_{k-1} with rows of length 1). The vectors are gamma X_0 + (1 -
    gamma) mean(X_1, ..., X_L). X_0, the tables, is not scaled in this sum.

    Settings: the base's, ``norm_power`` (alpha), ``neighbour_power`` (beta), ``ego_weight``
    (gamma).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.powers = config["norm_power"], config["neighbour_power"]
        self.ego_weight = config["ego_weight"]

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the weighted sum of the layers on the whole graph."""
        return self.propagate_to(EVERY, ego)[0]

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the weighted sum of the layers of some nodes, and their layer 0."""
        matrix = self.graph.normalized(*self.powers)
        transposed = self.graph.normalized(*self.powers[::-1])
        x, layers = ego, []
        for rows in last_to(nodes, self.n_layers):
            x = product(matrix, unit(x), rows, transposed=transposed)
            layers.append(x)
        own, mean = ego[nodes], sum(rows_of(layers, nodes)) / self.n_layers
        return torch.lerp(mean, own, self.ego_weight), own


class LightGCNpp(FlexiblePropagation, LightGCNModel):
    """BPR on LightGCN++'s vectors, gamma X_0 + (1 - gamma) mean(X_1, ..., X_L).

    X_0 are the tables. X_k = D^-alpha A D^-beta (X_{k-1} with rows of length 1). So alpha shapes a
    vector's length by its node's degree, and beta how much a neighbour counts by the neighbour's
    degree. LightGCN has alpha = beta = 1/2, no unit rows, and gamma = 1 / (L + 1).

    Settings: :class:`~recbole_hill.model.bases.graph_model.LightGCNModel`'s, with ``n_layers`` at
    least 1; ``norm_power`` (alpha), ``neighbour_power`` (beta), ``ego_weight`` (gamma).
    """


class LightGCNppBSL(FlexiblePropagation, LightGCNBSL):
    """The vectors of LightGCN++ with the bilateral softmax loss of LightGCN-BSL.

    The authors of LightGCN++ train by BPR; this combination is ours.

    Settings: :class:`~recbole_hill.model.baselines.bsl.LightGCNBSL`'s, with ``n_layers`` at least
    1; ``norm_power``, ``neighbour_power``, ``ego_weight``.
    """
