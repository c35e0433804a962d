"""SL@K: a softmax loss whose pairs weigh by how far they are inside the user's top K.

Reference:
    Weiqin Yang et al. "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in
    Recommender Systems." in KDD 2025.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recbole_hill.data.sampling import InteractionSampler
from recbole_hill.model.baselines.bsl import MFBSL, LightGCNBSL
from recbole_hill.model.bases.factorization import SampledScores
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.losses import unit

#: Items that are drawn for the quantile of a user; K is at most as large.
N_DRAWN = 1000

#: Users whose scores are computed together.
_BLOCK = 256


class TopKWeights:
    """A mixin, listed before a BSL model: multiplies each pair's loss by a weight (Eq. 3.5).

        weight of <u, i> = sigmoid((s_ui - beta_u) / weight_tau)

    s_ui is the cosine. beta_u is an estimate of the score of u's K-th best item: see
    :func:`top_k_quantiles`. It is 0 at first. It is estimated anew after every ``quantile_epochs``
    epochs, and no gradient passes through it; a gradient passes through s_ui. The authors estimate
    it batch by batch in the course of an epoch. This class does it between two epochs.

    With ``power: 1``, without pooling and dropout, the loss is the paper's. BSL's settings stay
    available.

    Settings: BSL's, ``loss_k`` (K), ``weight_tau``, ``quantile_epochs``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.loss_k, self.weight_tau = config["loss_k"], config["weight_tau"]
        self.quantile_epochs = config["quantile_epochs"]
        #: beta; saved, because a resumed run continues with it.
        self.register_buffer("user_quantiles", torch.zeros(self.n_users))

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Estimates the quantiles before every ``quantile_epochs``-th epoch but the first."""
        super().begin_epoch(epoch)
        if epoch > 0 and epoch % self.quantile_epochs == 0:
            users, items = (unit(vectors) for vectors in self.user_item_embeddings())
            self.user_quantiles = top_k_quantiles(users, items, self.sampler, self.loss_k)

    def pair_losses(self, user: Tensor, positive: Tensor, log_sums: Tensor) -> Tensor:
        """Returns the weighted loss of every pair, (B,); takes the same arguments as SSM's."""
        inside = self.tau * positive - self.user_quantiles[user]
        weights = torch.sigmoid(inside / self.weight_tau)
        return weights * super().pair_losses(user, positive, log_sums)


def top_k_quantiles(users: Tensor, items: Tensor, sampler: InteractionSampler, k: int) -> Tensor:
    """Returns the k-th largest among the scores of a user's train items and of drawn other items.

    ``N_DRAWN`` items are drawn for each user, with repetition. As these are a sample, the value is
    at most the user's k-th largest score of all, up to repetition (the paper's appendix C.2). The
    authors cut long lists of train items at the 90th percentile of their lengths, to save memory.
    Nothing is cut here.

    Args:
        users: User vectors, no gradient, shape (U, D).
        items: Item vectors, no gradient, shape (I, D).
        sampler: Sampler of the train set.
        k: At most ``N_DRAWN``.

    Returns:
        Shape (U,); 0 for users without a train item.
    """
    found = users.new_zeros(len(users))
    for some in sampler.active.split(_BLOCK):
        row, own = sampler.train_items(some)
        scores = pair_products(users[some], row, items, own).split(sampler.counts[some].tolist())
        of_own = pad_sequence(scores, batch_first=True, padding_value=-torch.inf)
        drawn = sampler.negatives(some, N_DRAWN, reject=True)
        of_drawn = SampledScores.apply(users[some], items, drawn)
        found[some] = torch.cat((of_own, of_drawn), 1).topk(k).values[:, -1]
    return found


class MFSLK(TopKWeights, MFBSL):
    """Matrix factorisation with the weighted softmax loss."""


class LightGCNSLK(TopKWeights, LightGCNBSL):
    """LightGCN with the weighted softmax loss."""
