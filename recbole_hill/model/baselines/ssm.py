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
from recbole_hill.model.losses import PRECISIONS, CosineLogSumExp, temperature, unit


class SoftmaxLoss(PretrainedStart):
    """A mixin: -ln softmax of each row's item among its rivals, with cosines divided by ``tau``.

    The setting ``rivals`` chooses the rivals:

    - ``batch``: all items of the batch, each as often as it occurs, the positive among them. No B x
      B matrix is stored. Popular items are rivals in proportion to their popularity, which takes
      popularity out of the scores. This suits sparse data. It is wrong where popularity predicts
      the test set, as on ml-100k (there the model falls below Pop).
    - ``corrected``: the same, with each item divided by its popularity (Yi et al., RecSys 2019), so
      that the batch stands for all items, each once.
    - ``uniform``: ``n_negatives`` items drawn uniformly for each row.
    - ``shared``: ``n_negatives`` items drawn uniformly once for all rows of the batch, a row's own
      train items possibly among them. The scores are one matrix product: with hundreds of items ten
      times as fast as ``uniform`` on a CPU. This suits sparse data.

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
        self.in_batch, self.shared = rivals in ("batch", "corrected"), rivals == "shared"
        self.by_cosine = rank_by == "cosine"
        self.tau = (positive if rivals == "uniform" else temperature)("tau", config["tau"])
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

    def draw(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Returns users (B,), positives (B,) and drawn rivals: (B, n), shared (n,) or none (0,)."""
        if not (self.in_batch or self.shared):
            return super().draw(interaction)
        user, item = self.positives(interaction)
        return user, item, self.sampler.uniform((self.n_negatives,)) if self.shared else item[:0]

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The softmax loss of a draw; ``negative``, (B, n) or (n,), counts if rivals are drawn."""
        query = self.query(users[user])
        if self.in_batch:  # only the items of the batch are used
            rivals, positive, weights = torch.unique(
                positive, return_inverse=True, return_counts=True
            )
            weights = weights.float()
            if self.popularity is not None:
                weights = weights / self.popularity[rivals if ids is None else ids[1][rivals]]
            items = items[rivals]
        items = items if self.by_cosine else unit(items)
        of_positive = (query * items[positive]).sum(1) / self.tau
        if self.in_batch:
            log_sums = CosineLogSumExp.apply(query, items, weights, self.tau, self.precision)
        elif negative.dim() == 1:
            once, drawn = torch.ones(len(negative), device=negative.device), items[negative]
            log_sums = CosineLogSumExp.apply(query, drawn, once, self.tau, self.precision)
        else:
            log_sums = SampledScores.apply(query / self.tau, items, negative).logsumexp(1)
        user = user if ids is None else ids[0][user]
        return self.pair_losses(user, of_positive, log_sums).mean()

    def query(self, users: Tensor) -> Tensor:
        """Returns the batch's user vectors, scaled to length 1, shape (B, D)."""
        return users if self.by_cosine else unit(users)

    def pair_losses(self, user: Tensor, positive: Tensor, log_sums: Tensor) -> Tensor:
        """Returns -ln softmax of every pair, shape (B,).

        Args:
            user: User ids, shape (B,).
            positive: Cosines over ``tau``, shape (B,).
            log_sums: ln sum exp of the rivals, shape (B,). The rivals of a batch include the
                positive; drawn rivals do not.
        """
        if self.in_batch:
            return log_sums - positive
        return F.softplus(log_sums - positive)


class MFSSM(SoftmaxLoss, MatrixFactorization):
    """Matrix factorisation with the softmax loss."""


class LightGCNSSM(SoftmaxLoss, LightGCNModel):
    """LightGCN with the softmax loss; further setting: ``n_layers``."""

    def calculate_loss(self, interaction) -> Tensor:
        """The loss; of the drawn nodes' vectors alone, unless each row draws rivals of its own."""
        user, item, negative = self.draw(interaction)
        if negative.dim() > 1:
            return self.bpr_loss(*self.user_item_embeddings(), user, item, negative)
        users, row = torch.unique(user, return_inverse=True)
        items, places = torch.unique(torch.cat((item, negative)), return_inverse=True)
        drawn = row, *places.split((len(item), len(negative)))
        vectors, tables = self.vectors_of(users, items)
        if self.by_cosine:
            vectors = tuple(unit(rows) for rows in vectors)
        loss = self.ranking_loss(*vectors, *drawn, (users, items))
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * self.batch_l2(*drawn, tables)
