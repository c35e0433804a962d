"""What keeps index learning stable: temperature, warm-up and balance (HILL, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """How inverse temperature and loss weight grow with the training step.

    Attributes:
        alpha: Inverse temperature at the end, of distances relative to the vectors' mean square.
        alpha_power: Exponent of its growth (Eq. 7; HSNN, Eq. 8); 0: ``alpha`` from the start.
        steps: Steps until it is reached.
        warmup_steps: Steps until the index loss has its full weight; 0: from the start.
    """

    alpha: float
    alpha_power: float
    steps: int
    warmup_steps: int

    def alpha_at(self, step: int) -> float:
        """Returns alpha * (step / steps)^power, counted from 1 and constant once reached."""
        return self.alpha * min(1.0, (step + 1) / max(1, self.steps)) ** self.alpha_power

    def weight_at(self, step: int) -> float:
        """Returns the share of the index loss's weight, linear up to 1."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps))


class Balance(nn.Module):
    """The FLOPs regulariser over the last batches: K sum_k (mean assignment to k)^2.

    Paria et al. (ICLR 2020), pooled as HSNN pools it: the current batch and ``n_batches - 1`` older
    ones, which are detached. 1 if all nodes carry the same, K if one carries all.

    Args:
        n_nodes: K.
        n_batches: Batches pooled, at least 1.
    """

    def __init__(self, n_nodes: int, n_batches: int):
        super().__init__()
        self.register_buffer("sums", torch.zeros(n_batches - 1, n_nodes))
        self.register_buffer("sizes", torch.zeros(n_batches - 1))

    def forward(self, mean: Tensor, size: int) -> Tensor:
        """Returns the regulariser and, in training, remembers the batch.

        Args:
            mean: Mean assignment of this batch, shape (K,).
            size: Items of this batch.
        """
        pooled = (mean * size + self.sums.sum(0)) / (size + self.sizes.sum())
        if self.training and len(self.sums):
            self.sums.copy_(torch.cat((self.sums[1:], (mean.detach() * size).unsqueeze(0))))
            self.sizes.copy_(torch.cat((self.sizes[1:], self.sizes.new_tensor([size]))))
        return len(mean) * pooled.square().sum()

    def forget(self) -> None:
        """Empties the pool."""
        self.sums.zero_()
        self.sizes.zero_()
