"""SGL-ED: LightGCN with a contrast of two edge-dropped graphs.

Reference:
    Jiancan Wu et al. "Self-supervised Graph Learning for Recommendation." in SIGIR 2021.
"""

import torch
from torch import Tensor

from recbole_hill.data.graph import propagate, propagate_to
from recbole_hill.model.bases.graph_model import LightGCNModel
from recbole_hill.model.losses import CosineLogSumExp, temperature, unit


class SGLED(LightGCNModel):
    """Sums over the batch: BPR + ssl_weight InfoNCE + reg_weight / 2 squared layer-0 embeddings.

    InfoNCE (Eq. 10) compares each of the batch's users, in the first view, with *all* users in the
    second view, and likewise for items. The two views are graphs with edges dropped and degrees
    counted anew. They are drawn once an epoch. The terms are sums and not means, as in the authors'
    code. Both codes (wujcan/SGL-TensorFlow and wujcan/SGL-Torch, ``PairwiseSamplerV2``) draw users
    uniformly and then one of the user's items, as many pairs an epoch as train has.

    RecBole's ``SGL`` (``recbole.SGL`` here) has an L2 term of unsquared norms divided by B, which
    is weaker by orders of magnitude, and computes products in COO form.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``edge_dropout``, ``ssl_weight``, ``ssl_tau``.
    """

    sums_over_batch = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.ssl_weight = config["ssl_weight"]
        self.edge_dropout = config["edge_dropout"]
        self.ssl_tau = temperature("ssl_tau", config["ssl_tau"])
        self.views: list[Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        """Draws the two graphs of the epoch."""
        self.views = [self.graph.drop_edges(self.edge_dropout) for _ in range(2)]

    def calculate_loss(self, interaction) -> Tensor:
        """The three sums, BPR and L2 from the vectors of the batch's users and items alone."""
        user, positive, negative = self.draw(interaction)
        loss = self.drawn_loss(user, positive, negative)
        return loss * len(user) + self.ssl_weight * self.contrast(user, positive)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same sums, given the vectors of all users and items."""
        user, positive, negative = self.draw(interaction)
        loss = self.bpr_loss(users, items, user, positive, negative)
        return loss * len(user) + self.ssl_weight * self.contrast(user, positive)

    def contrast(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns InfoNCE, summed over a batch of users (B,) and items (B,)."""
        if not self.views:
            self.begin_epoch(0)
        ego = self.ego()
        users, of_user = torch.unique(user, return_counts=True)
        items, of_item = torch.unique(item, return_counts=True)
        nodes = torch.cat((users, items + self.n_users))
        first, _ = propagate_to(nodes, self.views[0], ego, self.n_layers, with_ego=True)
        second = propagate(self.views[1], ego, self.n_layers, with_ego=True)
        total = ego.new_zeros(())
        for ids, counts, anchors, everyone in zip(
            (users, items),
            (of_user, of_item),
            first.split((len(users), len(items))),
            second.split((self.n_users, self.n_items)),
            strict=True,
        ):
            anchors, same, everyone = unit(anchors), unit(everyone[ids]), unit(everyone[1:])
            own = (anchors * same).sum(1) / self.ssl_tau
            ones = torch.ones(len(everyone), device=ego.device)
            sums = CosineLogSumExp.apply(anchors, everyone, ones, self.ssl_tau, torch.float32)
            total = total + (counts * (sums - own)).sum()
        return total
