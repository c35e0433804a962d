"""SpectralSSM: a low-pass filter, and vectors that a softmax loss trains beside it."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.graph_model import LightGCNModel
from recbole_hill.model.bases.spectral import Smoother, leading_settings, low_rank_factors
from recbole_hill.model.losses import PRECISIONS, unit


class SpectralSSM(LightGCNModel):
    """Ranks by g w f(u, i) / sd(u) + cos(z_u, z_i) / tau, one inner product.

    f is :class:`~recbole_hill.model.baselines.spectralmf.SpectralMF`'s score at p = 0, the ideal
    low-pass filter of the user's train row. sd(u) is the standard deviation of f over the items.
    The vectors z are LightGCN's (or plain tables). MF-SSM's softmax loss trains them on the sum
    with g = 1, while the filter is fixed. So they learn what the filter does not say.

    The filter's score of a train item contains the train pair itself, so training on this score
    would teach nothing. Two corrections follow. From a positive's score, the share that its own
    interaction put there is subtracted: w |V_i|^2 / sd(u), where V_i is the item's row of V. The
    user's other train items are not rivals. Unseen items have no such advantage in ranking, so
    there the filter may have a larger weight than in training, by the factor g.

    Settings: ``MatrixFactorization``'s (``embedding_size`` is the size of the tables), ``n_layers``
    (0: plain tables), ``tau``, ``rivals`` (batch: a batch's items as often as they occur;
    corrected: divided by their popularity), ``spectral_rank``, ``degree_power``,
    ``svd_iterations``, ``spectral_weight`` (w), ``spectral_gain`` (g), ``softmax_precision`` (type
    of the filter's scores in training).
    """

    #: The setting that counts singular vectors.
    rank_setting: ClassVar[str] = "spectral_rank"

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.tau = config["tau"]
        rivals = config["rivals"]
        precision = config["softmax_precision"]
        self.precision = PRECISIONS[precision]
        self.rank, self.iterations = leading_settings(config, "spectral_rank", dataset)
        self.degree_power, self.seed = config["degree_power"], config["seed"]
        self.weight, self.gain = config["spectral_weight"], config["spectral_gain"]
        self.history = train_matrix(dataset)
        popularity = self.popularity_in(dataset) if rivals == "corrected" else None
        self.register_buffer("popularity", popularity, persistent=False)
        #: V, the filter; saved, so that loading a run does not compute it again.
        self.register_buffer("vectors_of_items", torch.zeros(self.n_items, self.rank))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self._filter: tuple[Tensor, Tensor, Tensor] | None = None

    @staticmethod
    def popularity_in(dataset) -> Tensor:
        """Returns each item's number of train rows over the mean without padding, shape (I,)."""
        counts = torch.from_numpy(train_matrix(dataset).sum(0).A1)
        return counts / counts[1:].mean()

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Computes the filter before the first epoch."""
        self.filter()

    @torch.no_grad()
    def filter(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the parts of the filter at w = 1.

        Returns:
            The users' vectors r D^-b V / sd(u), shape (U, K); the items' vectors D^b V, shape (I,
            K); and 1 / sd(u), 0 for a user without items, shape (U,).
        """
        right = self.vectors_of_items
        if self._filter is not None and self._filter[0].device == right.device:
            return self._filter
        if not self.fitted:
            smooth = Smoother(self.history, "cpu")
            rng = np.random.default_rng(self.seed)
            _, vectors = smooth.leading(self.rank, iterations=self.iterations, rng=rng)
            right.copy_(torch.from_numpy(vectors))
            self.fitted.fill_(True)
        factors = low_rank_factors(self.history, right.cpu().numpy(), self.degree_power)
        users, items = (torch.from_numpy(part).to(right) for part in factors)
        variance = ((users @ items[1:].T.cov()) * users).sum(1)
        scale = torch.where(variance > 0, variance.clamp_min(1e-24).rsqrt(), 0.0)
        self._filter = users * scale.unsqueeze(1), items, scale
        return self._filter

    def load_state_dict(self, *args, **kwargs):
        """Loads weights, and drops the filter that was computed from the old weights."""
        self._filter = None
        return super().load_state_dict(*args, **kwargs)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the filter's vectors and the trained vectors side by side, K + D wide."""
        users, items, _ = self.filter()
        of_users, of_items = super().user_item_embeddings()
        weight = self.weight if self.training else self.weight * self.gain
        return (
            torch.cat((weight * users, unit(of_users) / self.tau), 1),
            torch.cat((items, unit(of_items)), 1),
        )

    def calculate_loss(self, interaction) -> Tensor:
        """The loss from the batch's rows alone: all vectors would take hundreds of megabytes."""
        users, items, _ = self.filter()
        user, positive = self.positives(interaction)
        distinct, row = torch.unique(user, return_inverse=True)
        rivals, place = torch.unique(positive, return_inverse=True)
        of_users, of_rivals = map(unit, self.vectors_of(distinct, rivals)[0])
        return self._loss(
            (self.weight * users[user], of_users[row] / self.tau),
            (items[rivals], of_rivals),
            user,
            rivals,
            place,
        )

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same loss, given all vectors."""
        user, positive = self.positives(interaction)
        rivals, place = torch.unique(positive, return_inverse=True)
        width = self.rank, users.shape[1] - self.rank
        rows = (x.split(width, 1) for x in (users[user], items[rivals]))
        return self._loss(*rows, user, rivals, place)

    def _loss(
        self,
        queries: tuple[Tensor, Tensor],
        items: tuple[Tensor, Tensor],
        user: Tensor,
        rivals: Tensor,
        place: Tensor,
    ) -> Tensor:
        """The softmax loss plus the L2 term; vectors come as the filter's and the trained ones.

        Args:
            queries: Vectors of each of the batch's users, (B, K) and (B, D).
            items: Vectors of each of the batch's distinct items, (n, K) and (n, D).
            user: User ids, (B,).
            rivals: Ids of the distinct items, (n,).
            place: Position of each user's item among the distinct items, (B,).
        """
        with torch.no_grad():
            fixed = (queries[0].to(self.precision) @ items[0].to(self.precision).T).float()
            row = torch.arange(len(user), device=user.device)
            fixed[row, place] -= self.own_share(user, rivals[place])
            known = self.sampler.has(user.unsqueeze(1), rivals.unsqueeze(0))
            known[row, place] = False
            fixed[known] = -torch.inf
        loss = self._softmax(fixed + queries[1] @ items[1].T, place, rivals)
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * self.batch_l2(user, rivals[place], rivals[:0])

    def own_share(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns the share of train pairs' scores that the pairs themselves contribute, (B,)."""
        scale = self.filter()[2]
        return self.weight * scale[user] * self.vectors_of_items[item].square().sum(1)

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The softmax loss over the batch's rows of ``items``, nothing taken off or left out."""
        rivals, place = torch.unique(positive, return_inverse=True)
        scores = users[user] @ items[rivals].T
        return self._softmax(scores, place, rivals if ids is None else ids[1][rivals])

    def _softmax(self, scores: Tensor, place: Tensor, ids: Tensor) -> Tensor:
        """The mean of -ln softmax over a batch's distinct items ``ids``, weighted by ``rivals``."""
        weights = torch.bincount(place, minlength=len(ids)).float()
        if self.popularity is not None:
            weights = weights / self.popularity[ids]
        positive = scores.gather(1, place.unsqueeze(1)).squeeze(1)
        return ((scores + weights.log()).logsumexp(1) - positive).mean()
