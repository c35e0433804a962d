"""Temperature, warm-up and balance, which keep index learning stable (HILL, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """Growth of the inverse temperature and of the loss weight with the training step.

    Attributes:
        alpha: Final inverse temperature, for distances relative to the vectors' mean square.
        alpha_power: Exponent of the growth (Eq. 7; HSNN, Eq. 8); 0 means ``alpha`` from the start.
        steps: Number of steps until ``alpha`` is reached.
        warmup_steps: Number of steps until the index loss has its full weight; 0 means from the
            start.
    """

    alpha: float
    alpha_power: float
    steps: int
    warmup_steps: int

    def alpha_at(self, step: int) -> float:
        """Returns alpha * ((step + 1) / steps)^power, and alpha from the last step on.

        Args:
            step: Number of the step, from 0.
        """
        return self.alpha * min(1.0, (step + 1) / max(1, self.steps)) ** self.alpha_power

    def weight_at(self, step: int) -> float:
        """Returns the share of the index loss's weight, which grows linearly to 1.

        Args:
            step: Number of the step, from 0.
        """
        return min(1.0, (step + 1) / max(1, self.warmup_steps))


class Balance(nn.Module):
    """The FLOPs regulariser over the last batches: K sum_k (mean assignment to k)^2.

    It is the regulariser of Paria et al. (ICLR 2020), pooled as in HSNN over the current batch and
    ``n_batches - 1`` older ones, which are detached. It is 1 if all nodes carry the same share, and
    K if one node carries all.

    Args:
        n_nodes: K.
        n_batches: Number of pooled batches, at least 1.
    """

    def __init__(self, n_nodes: int, n_batches: int):
        super().__init__()
        self.register_buffer("sums", torch.zeros(n_batches - 1, n_nodes))
        self.register_buffer("sizes", torch.zeros(n_batches - 1))

    def forward(self, mean: Tensor, size: int) -> Tensor:
        """Returns the regulariser; in training, also stores the batch.

        Args:
            mean: Mean assignment of this batch, shape (K,).
            size: Number of items in this batch.
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
