"""Softmax over the batch's items or drawn ones, on matrix factorisation and on LightGCN.

Reference:
    Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item Recommendation."
    in TOIS 2024.
"""

import torch
from torch import Tensor

from recbole_hill.data.graph import propagate
from recbole_hill.model.factorization import MatrixFactorization, scores_of
from recbole_hill.model.graph_model import GraphModel
from recbole_hill.model.losses import CosineLogSumExp, sampled_softmax, unit


class SoftmaxLoss:
    """A mixin: -ln softmax of each row's item among its rivals, cosines over ``tau``.

    With ``rivals: batch`` they are all items of the batch, each as often as it occurs, the positive
    among them; no B x B matrix is kept. Popular items are rivals in proportion to their popularity,
    which takes popularity out of the scores: right for sparse data, wrong where popularity predicts
    the test set, as on ml-100k (below Pop). With ``rivals: uniform`` they are ``n_negatives`` items
    drawn uniformly.

    Settings: the base's, ``tau``, ``rivals``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.tau = config["tau"]
        if config["rivals"] not in ("batch", "uniform"):
            raise ValueError(f"rivals must be batch or uniform, got {config['rivals']!r}")
        self.in_batch = config["rivals"] == "batch"

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the base's vectors at length 1."""
        users, items = super().user_item_embeddings()
        return unit(users), unit(items)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The softmax loss and half the batch's squared layer-0 embeddings."""
        if not self.in_batch:
            return self._uniform_loss(users, items, *self.draw(interaction))
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

    def _uniform_loss(self, users, items, user, positive, negative) -> Tensor:
        query = users[user] / self.tau
        loss = sampled_softmax((query * items[positive]).sum(1), scores_of(query, items[negative]))
        return loss + self.reg_weight * self.batch_l2(user, positive, negative)


class MFSSM(SoftmaxLoss, MatrixFactorization):
    """Matrix factorisation under the softmax loss."""


class LightGCNSSM(SoftmaxLoss, GraphModel):
    """LightGCN under the softmax loss; settings: ``n_layers`` besides."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]

    def propagate(self, ego: Tensor) -> Tensor:
        """LightGCN's mean of layers, the ego among them."""
        return propagate(self.graph.normalized(), ego, self.n_layers, with_ego=True)
