"""HMLET: LightGCN whose last layers choose, node by node, to be linear or non-linear.

Reference:
    Taeyong Kong et al. "Linear, or Non-Linear, That is the Question!" in WSDM 2022.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import product
from recbole_hill.host.dropout import Dropout
from recbole_hill.model.bases.graph_model import GraphModel


class HMLET(GraphModel):
    """The "End" variant: layers 1 and 2 are linear, 3 and 4 gated; the mean of E and 4 layers.

        e_1 = A e_0, e_2 = A e_1, e_3 = gate(A e_2, ELU(A e_0)), e_4 = gate(A e_3, ELU(A e_3))

    as in the authors' code. A gate is an MLP of both candidates, 2D-512-128-64-2, and a
    Gumbel-softmax, which is soft in training and hard in ranking. The temperature falls with the
    epochs. The gates' weights stay fixed for the first ``gate_warmup_epochs``.

    The authors draw Gumbel noise in ranking, too, so their scores vary from call to call. Here
    ranking takes the likelier candidate. The authors drop the two directions of an edge separately.
    Here both are dropped together.

    Settings: ``MatrixFactorization``'s, ``edge_dropout``, ``gate_dropout``, ``temperature``,
    ``least_temperature``, ``temperature_decay``, ``gate_warmup_epochs``, ``gates`` (learnt |
    linear, which equals LightGCN).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.gated = config["gates"] == "learnt"
        self.edge_dropout = config["edge_dropout"]
        self.first = config["temperature"]
        self.least = config["least_temperature"]
        self.decay, self.warmup = config["temperature_decay"], config["gate_warmup_epochs"]
        self.temperature = self.first
        size, rate = config["embedding_size"], config["gate_dropout"]
        self.gates = nn.ModuleList(_gate(2 * size, rate) for _ in range(2))

    def begin_epoch(self, epoch: int) -> None:
        """Sets the temperature, and whether the gates learn."""
        late = max(0, epoch - self.warmup)
        self.temperature = max(self.least, self.first * math.exp(-self.decay * late))
        self.gates.requires_grad_(epoch >= self.warmup)

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the mean of layer 0 and the four layers."""
        adjacency = self.graph.dropout(self.edge_dropout if self.training else 0.0)

        def smooth(x: Tensor) -> Tensor:
            return product(adjacency, x)

        first = smooth(ego)
        second = smooth(first)
        third = self._choose(self.gates[0], smooth(second), first)
        linear = smooth(third)
        fourth = self._choose(self.gates[1], linear, linear)
        return (ego + first + second + third + fourth) / 5

    def _choose(self, gate: nn.Module, linear: Tensor, other: Tensor) -> Tensor:
        """Returns each node's mixture of ``linear`` and ELU(``other``)."""
        if not self.gated:
            return linear
        bent = F.elu(other)
        logits = gate(torch.cat((linear, bent), 1))
        if self.training:
            weights = F.gumbel_softmax(logits, self.temperature)
        else:
            weights = F.one_hot(logits.argmax(1), 2).to(logits)
        return weights[:, :1] * linear + weights[:, 1:] * bent


def _gate(size: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (512, 128, 64):
        layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU(), Dropout(dropout)]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 2))
