"""Softmax over the batch's items or drawn items, on matrix factorisation and on LightGCN.

Reference:
    Jiancan Wu et al. "On the Effectiveness of Sampled Softmax Loss for Item Recommendation."
    in TOIS 2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.checks import positive
from recbole_hill.model.bases.factorization import MatrixFactorization, SampledScores
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.graph_model import LightGCNModel
from recbole_hill.model.bases.pretrained import PretrainedStart
from recbole_hill.model.losses import PRECISIONS, CosineLogSumExp, squared_l2, temperature, unit


class SoftmaxLoss(PretrainedStart):
    """A mixin: -ln softmax of each row's item among its rivals, with cosines divided by ``tau``.

    The setting ``rivals`` chooses the rivals:

    - ``batch``: all items of the batch, each as often as it occurs, the positive among them. No B x
      B matrix is stored. Popular items are rivals in proportion to their popularity, which takes
      popularity out of the scores. This suits sparse data. It is wrong where popularity predicts
      the test set, as on ml-100k (there the model falls below Pop).
    - ``corrected``: the same, with each item divided by its popularity (Yi et al., RecSys 2019), so
      that the batch stands for all items, each once.
    - ``uniform``: ``n_negatives`` items drawn uniformly.

    ``rank_by: product`` trains on cosines, and ranks by the inner products of the vectors.

    ``pretrained_from`` may name a run of SpectralMF with the same dimensions: a start from spectral
    factors.

    Settings: the base's, ``tau``, ``rivals``, ``rank_by``, ``softmax_precision`` (type of the large
    products over a batch's items), ``pretrained_from``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        rivals = config["rivals"]
        rank_by = config["rank_by"]
        precision = config["softmax_precision"]
        self.in_batch, self.by_cosine = rivals != "uniform", rank_by == "cosine"
        self.tau = (temperature if self.in_batch else positive)("tau", config["tau"])
        self.precision = PRECISIONS[precision]
        popularity = self.popularity_in(dataset) if rivals == "corrected" else None
        self.register_buffer("popularity", popularity, persistent=False)

    @staticmethod
    def popularity_in(dataset) -> Tensor:
        """Returns each item's number of train rows over the items' mean, shape (I,)."""
        counts = train_matrix(dataset).sum(0).A1  # at least 1 for an item in a batch
        return torch.from_numpy(counts / counts.mean()).float()

    def from_pretrained(self, values: Tensor, drawn: Tensor) -> Tensor:
        """Keeps the other run's directions and the drawn lengths, which suit the learning rate."""
        directions = unit(values)
        present = directions.any(1, keepdim=True)
        return torch.where(present, directions * drawn.norm(dim=1, keepdim=True), drawn)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the base's vectors, scaled to length 1 if the ranking is by cosine."""
        users, items = super().user_item_embeddings()
        return (unit(users), unit(items)) if self.by_cosine else (users, items)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The softmax loss plus half the batch's squared layer-0 embeddings."""
        if self.in_batch:
            user, item = self.positives(interaction)
            negative = item[:0]
        else:
            user, item, negative = self.draw(interaction)
        return self.bpr_loss(users, items, user, item, negative)

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: Tensor | None = None,
    ) -> Tensor:
        """The softmax loss of a draw; uses ``negative`` only if rivals are drawn."""
        query = self.query(users[user])
        if self.in_batch:  # only the items of the batch are used
            rivals, positive, weights = torch.unique(
                positive, return_inverse=True, return_counts=True
            )
            weights = weights.float()
            if self.popularity is not None:
                weights = weights / self.popularity[rivals if ids is None else ids[rivals]]
            items = items[rivals]
        items = items if self.by_cosine else unit(items)
        of_positive = (query * items[positive]).sum(1) / self.tau
        if self.in_batch:
            log_sums = CosineLogSumExp.apply(query, items, weights, self.tau, self.precision)
        else:
            log_sums = SampledScores.apply(query / self.tau, items, negative).logsumexp(1)
        return self.softmax_loss(user, of_positive, log_sums)

    def query(self, users: Tensor) -> Tensor:
        """Returns the batch's user vectors, scaled to length 1, shape (B, D)."""
        return users if self.by_cosine else unit(users)

    def softmax_loss(self, user: Tensor, positive: Tensor, log_sums: Tensor) -> Tensor:
        """The mean of -ln softmax.

        Args:
            user: User ids, shape (B,).
            positive: Cosines over ``tau``, shape (B,).
            log_sums: ln sum exp of the rivals, shape (B,). The rivals of a batch include the
                positive; drawn rivals do not.
        """
        if self.in_batch:
            return (log_sums - positive).mean()
        return F.softplus(log_sums - positive).mean()


class MFSSM(SoftmaxLoss, MatrixFactorization):
    """Matrix factorisation with the softmax loss."""


class LightGCNSSM(SoftmaxLoss, LightGCNModel):
    """LightGCN with the softmax loss; further setting: ``n_layers``."""

    def calculate_loss(self, interaction) -> Tensor:
        """The loss; if the batch's items are the rivals, only the batch's rows are computed."""
        if not self.in_batch:
            return self.embedding_loss(*self.user_item_embeddings(), interaction)
        user, item = self.positives(interaction)
        users, row = torch.unique(user, return_inverse=True)
        items, place = torch.unique(item, return_inverse=True)
        vectors, (own_users, own_items) = self.vectors_of(users, items)
        if self.by_cosine:
            vectors = tuple(unit(rows) for rows in vectors)
        loss = self.ranking_loss(*vectors, row, place, item[:0], items)
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * squared_l2(own_users[row], own_items[place])
