"""LT-OCF: LightGCN's propagation as an ordinary differential equation with learnt times.

Reference:
    Jeongwhan Choi et al. "LT-OCF: Learnable-Time ODE-based Collaborative Filtering." in CIKM 2021.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.polynomial import polynomial
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.bases.pretrained import PretrainedStart


class LTOCF(PretrainedStart, GraphModel):
    """Blocks x <- ODE(x) - x of dE/dt = A E between K + 1 times; the mean of E and all K outputs.

    The first time is 0 and the last is K; the times between them are learnt. The equation is
    linear, so one RK4 step of length t is I + tA + ... + (tA)^4 / 24, and all blocks together are a
    polynomial of A with 4 K products. One Euler step of length 1 is a layer of LightGCN.

    The authors train the times with a second optimiser at ``time_learning_rate``. The size of
    Adam's step does not depend on the gradient's scale. So here a time is its start plus a
    parameter times the ratio of the two learning rates, which moves it by the same amount.

    The authors' command for Gowalla that learns times starts from a checkpoint of LT-OCF that they
    supply, with new times. Here ``pretrained_from`` names the run to start from.

    Settings: ``MatrixFactorization``'s, ``n_layers`` (K), ``solver`` (rk4 | euler),
    ``time_learning_rate`` (0: fixed times), ``learning_rate``, ``pretrained_from``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]
        self.order = 4 if config["solver"] == "rk4" else 1
        learning_rate = config["learning_rate"]
        self.time_scale = config["time_learning_rate"] / learning_rate
        self.time_shift = nn.Parameter(torch.zeros(self.n_layers - 1))

    def times(self) -> Tensor:
        """Returns 0, the learnt times in order, and K, shape (K + 1,)."""
        start = torch.arange(1.0, self.n_layers, device=self.time_shift.device)
        end = self.time_shift.new_tensor([float(self.n_layers)])
        inner = (start + self.time_scale * self.time_shift).clamp(1e-6, self.n_layers - 1e-6)
        return torch.cat((end * 0, inner.sort().values, end))

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of E and the blocks' outputs, and the table rows."""
        return polynomial(self.graph.normalized(), ego, self.coefficients(), nodes), ego[nodes]

    def coefficients(self) -> Tensor:
        """Returns the factors of A^0, A^1, ... in the mean, shape (1 + K order,)."""
        block = self.time_shift.new_ones(1)
        total = F.pad(block, (0, self.n_layers * self.order))
        for length in self.times().diff():
            powers = range(1, self.order + 1)
            block = sum(
                F.pad(block, (p, self.order - p)) * (length**p / math.factorial(p)) for p in powers
            )
            total = total + F.pad(block, (0, len(total) - len(block)))
        return total / (self.n_layers + 1)
