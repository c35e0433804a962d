"""BSL: a softmax loss that is robust to noise in positives and in negatives, on MF and LightGCN.

Reference:
    Junkang Wu et al. "BSL: Understanding and Improving Softmax Loss for Recommendation."
    in ICDE 2024.
"""

import torch
from torch import Tensor

from recbole_hill.host.dropout import dropout
from recbole_hill.model.baselines.ssm import MFSSM, LightGCNSSM
from recbole_hill.model.bases.attention import segment_max
from recbole_hill.model.losses import unit


class BilateralLoss:
    """A mixin, listed before an SSM model: weighs the rivals' log-sum, and pools the positives.

    The published code's loss of a pair is -ln mean_{i in P} exp(s_i / tau) + power ln sum_j exp(s_j
    / tau), where s are cosines. P is the batch's pairs of the same user (``pool_positives: False``:
    the pair alone). j are the pair's rivals, never the pair itself. ``power`` is the paper's tau_1
    / tau_2. With ``power: 1`` and without pooling this is the softmax loss without the positive in
    the denominator.

    The user's dropout comes before the cosine. The authors' LightGCN regularises the vectors of all
    layers. This class regularises layer 0, as the other models here do.

    Settings: SSM's, ``power``, ``pool_positives``, ``dropout_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        if config["rivals"] == "corrected":
            raise ValueError("rivals: corrected is SSM's; BSL takes batch, uniform or shared")
        self.power, self.pool_positives = config["power"], config["pool_positives"]
        self.dropout_rate = config["dropout_rate"]

    def query(self, users: Tensor) -> Tensor:
        """Returns the batch's user vectors after dropout, scaled to length 1, shape (B, D)."""
        return unit(dropout(users, self.dropout_rate, self.training))

    def pair_losses(self, user: Tensor, positive: Tensor, log_sums: Tensor) -> Tensor:
        """Returns the bilateral loss of every pair, (B,); takes the same arguments as SSM's."""
        if self.in_batch:  # take the pair itself out: ln(e^l - e^p) = l + ln(1 - e^(p - l))
            own = (positive - log_sums).clamp_max(-1e-6)
            log_sums = log_sums + torch.log(-torch.expm1(own))
        if self.pool_positives:
            positive = pooled(positive, user)
        return self.power * log_sums - positive


def pooled(positive: Tensor, user: Tensor) -> Tensor:
    """Returns, for each pair, ln mean exp over the pairs of the same user, shape (B,).

    Args:
        positive: Logits, shape (B,).
        user: User ids, shape (B,).
    """
    _, group, counts = torch.unique(user, return_inverse=True, return_counts=True)
    top = segment_max(positive.detach(), group, len(counts))
    sums = positive.new_zeros(len(counts)).index_add(0, group, (positive - top[group]).exp())
    return ((sums / counts).log() + top)[group]


class MFBSL(BilateralLoss, MFSSM):
    """Matrix factorisation with the bilateral softmax loss."""


class LightGCNBSL(BilateralLoss, LightGCNSSM):
    """LightGCN with the bilateral softmax loss."""
