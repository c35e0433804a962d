"""Softmax losses over the batch's own items, on matrix factorisation and on LightGCN.

Reference:
    Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item Recommendation."
    in TOIS 2024.
"""

import torch
from torch import Tensor

from recbole_hill.data.graph import propagate
from recbole_hill.model.factorization import MatrixFactorization
from recbole_hill.model.graph_model import GraphModel
from recbole_hill.model.losses import CosineLogSumExp, unit


class InBatchSoftmax:
    """A mixin: -ln softmax of each row's item among all items of the batch, cosines over ``tau``.

    An item that occurs twice in the batch counts twice among the rivals, as in the plain formula;
    popular items are so drawn as negatives in proportion to their popularity. The positive is among
    the rivals of its own row. No B x B matrix is kept.

    Scores are inner products of the users with items at length 1.

    Settings: the base's, ``tau``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.tau = config["tau"]

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the base's vectors at length 1."""
        users, items = super().user_item_embeddings()
        return unit(users), unit(items)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The in-batch softmax and half the batch's squared layer-0 embeddings."""
        user, item = interaction[self.USER_ID], interaction[self.ITEM_ID]
        if self.user_uniform:
            user, item = self.sampler.positives(len(user))
        query = users[user]
        rivals, counts = torch.unique(item, return_counts=True)
        log_sums = CosineLogSumExp.apply(
            query, items[rivals], counts.float(), self.tau, torch.float32
        )
        loss = (log_sums - (query * items[item]).sum(1) / self.tau).mean()
        return loss + self.reg_weight * self.batch_l2(user, item, item[:0])


class MFSSM(InBatchSoftmax, MatrixFactorization):
    """Matrix factorisation under the in-batch softmax loss."""


class LightGCNSSM(InBatchSoftmax, GraphModel):
    """LightGCN under the in-batch softmax loss; settings: ``n_layers`` besides."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]

    def propagate(self, ego: Tensor) -> Tensor:
        """LightGCN's mean of layers, the ego among them."""
        return propagate(self.graph.normalized(), ego, self.n_layers, with_ego=True)
