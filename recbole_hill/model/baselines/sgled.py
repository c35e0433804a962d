"""SGL-ED: LightGCN and a contrast of two edge-dropped graphs.

Reference:
    Jiancan Wu et al. "Self-supervised Graph Learning for Recommendation." in SIGIR 2021.
"""

import torch
from torch import Tensor

from recbole_hill.bounds import rate
from recbole_hill.data.graph import propagate
from recbole_hill.model.graph_model import GraphModel
from recbole_hill.model.losses import CosineLogSumExp, temperature, unit


class SGLED(GraphModel):
    """Sums over the batch: BPR + ssl_weight InfoNCE + reg_weight / 2 squared layer-0 embeddings.

    InfoNCE (Eq. 10) holds each of the batch's users, in the first view, against *all* users in the
    second, and the items likewise. The two views are graphs with edges dropped and degrees counted
    anew, drawn once an epoch. Sums, not means, as in the authors' code.

    RecBole's ``SGL`` (``recbole.SGL`` here) has an L2 term of unsquared norms divided by B, orders
    weaker, and products in COO form.

    Settings: :class:`~recbole_hill.model.factorization.MatrixFactorization`'s, ``n_layers``,
    ``edge_dropout``, ``ssl_weight``, ``ssl_tau``.
    """

    sums_over_batch = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers, self.ssl_weight = config["n_layers"], config["ssl_weight"]
        self.edge_dropout = rate("edge_dropout", config["edge_dropout"])
        self.ssl_tau = temperature("ssl_tau", config["ssl_tau"])
        self.views: list[Tensor] = []

    def begin_epoch(self, epoch: int) -> None:
        """Draws the epoch's two graphs."""
        self.views = [self.graph.drop_edges(self.edge_dropout) for _ in range(2)]

    def propagate(self, ego: Tensor) -> Tensor:
        """LightGCN's mean of layers on the whole graph."""
        return propagate(self.graph.normalized(), ego, self.n_layers, with_ego=True)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The three sums."""
        if not self.views:
            self.begin_epoch(0)
        user, positive, negative = self.draw(interaction)
        loss = self.bpr_loss(users, items, user, positive, negative)
        return loss * len(user) + self.ssl_weight * self.contrast(user, positive)

    def contrast(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns InfoNCE summed over a batch of users (B,) and items (B,)."""
        ego = torch.cat((self.user_embedding.weight, self.item_embedding.weight))
        sides = [
            propagate(view, ego, self.n_layers, with_ego=True).split((self.n_users, self.n_items))
            for view in self.views
        ]
        total = ego.new_zeros(())
        for ids, first, second in zip((user, item), *sides, strict=True):
            rows, counts = torch.unique(ids, return_counts=True)
            anchors, everyone = unit(first[rows]), unit(second[1:])  # padding is nobody
            own = (anchors * unit(second[rows])).sum(1) / self.ssl_tau
            ones = torch.ones(len(everyone), device=ego.device)
            sums = CosineLogSumExp.apply(anchors, everyone, ones, self.ssl_tau, torch.float32)
            total = total + (counts * (sums - own)).sum()
        return total
