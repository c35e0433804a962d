"""Talos: a softmax loss over scores that are compared with the user's learnt top-K threshold.

Reference:
    Shengjia Zhang et al. "Talos: Optimizing Top-K Accuracy in Recommender Systems." in WWW 2026.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.model.baselines.ssm import MFSSM, LightGCNSSM
from recbole_hill.model.bases.factorization import SampledScores
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.losses import unit


class TopKAccuracyLoss:
    """A mixin, listed before an SSM model: a softmax of ln sigmoid(s - beta_u) / tau (Eq. 3.7).

    s are cosines. The loss of a pair is the log-sum-exp of its rivals less the pair's own logit.
    beta_u is the quantile of u's scores of all items that only K items exceed. It is learnt beside
    the other weights from the loss of quantile regression (Eq. 3.3), as in the authors' code: the
    scores of u's train items, and those of the rivals, which stand for all other items. Each loss
    takes the weights of the other as constants. As the rivals stand for all items, they are drawn,
    and never the items of the batch.

    The authors' Adam trains beta at ``quantile_learning_rate``. The size of Adam's step does not
    depend on the gradient's scale. So here beta is a parameter times the ratio of the two learning
    rates, which moves beta by the same amount. The parameter is the quantile of the scores divided
    by this ratio; from these its gradient is as large as beta's in the authors' code.

    Settings: SSM's, ``loss_k`` (K), ``quantile_learning_rate``, ``learning_rate``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        n_items, self.loss_k = self.n_items - 1, config["loss_k"]
        if self.loss_k > n_items:
            raise ValueError(f"loss_k must be at most the {n_items} items, got {self.loss_k}")
        self.quantile_scale = config["quantile_learning_rate"] / config["learning_rate"]
        self.user_quantile = nn.Parameter(torch.zeros(self.n_users))

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of one batch, from all vectors: the users' train items are most items."""
        return self.embedding_loss(*self.user_item_embeddings(), interaction)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The softmax loss plus half the batch's squared layer-0 embeddings.

        The quantiles' loss adds its gradient and not its value, which is on another scale.
        """
        user, positive, negative = self.draw(interaction)
        query, items = self.query(users[user]), items if self.by_cosine else unit(items)
        scores = self.scores(query, items, positive, negative)
        of_quantiles = self.quantile_loss(user, query.detach(), items.detach(), scores[1].detach())
        loss = self.softmax_loss(user, *scores) + of_quantiles - of_quantiles.detach()
        if not self.reg_weight:
            return loss
        return loss + self.reg_weight * self.batch_l2(user, positive, negative)

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The softmax loss of a draw, whose rivals are (B, n), or (n,) for all pairs."""
        items = items if self.by_cosine else unit(items)
        scores = self.scores(self.query(users[user]), items, positive, negative)
        return self.softmax_loss(user if ids is None else ids[0][user], *scores)

    def scores(
        self, query: Tensor, items: Tensor, positive: Tensor, negative: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the cosines of a draw's positives, (B,), and of its rivals, (B, n)."""
        of_positive = (query * items[positive]).sum(1)
        if negative.dim() == 1:
            return of_positive, query @ items[negative].T
        return of_positive, SampledScores.apply(query, items, negative)

    def softmax_loss(self, user: Tensor, of_positive: Tensor, of_rivals: Tensor) -> Tensor:
        """The mean loss of pairs.

        Args:
            user: User ids, shape (B,).
            of_positive: Cosines, shape (B,).
            of_rivals: Cosines, shape (B, n).
        """
        beta = self.quantile_scale * self.user_quantile.detach()[user]
        positive = F.logsigmoid(of_positive - beta) / self.tau
        rivals = F.logsigmoid(of_rivals - beta.unsqueeze(1)) / self.tau
        return (rivals.logsumexp(1) - positive).mean()

    def quantile_loss(
        self, user: Tensor, query: Tensor, items: Tensor, of_rivals: Tensor
    ) -> Tensor:
        """The mean over pairs of the loss whose minimum is the quantile of the user's scores.

        Args:
            user: User ids, shape (B,).
            query: The users' vectors, shape (B, D).
            items: Item vectors, shape (I, D).
            of_rivals: Cosines of the rivals, shape (B, n).
        """
        n_items = len(items) - 1
        share = self.loss_k / n_items
        quantile = self.user_quantile[user]

        def above(scores: Tensor, quantile: Tensor) -> Tensor:
            difference = scores / self.quantile_scale - quantile
            return F.relu(difference) - share * difference

        others = n_items - self.sampler.counts[user]
        losses = others * above(of_rivals, quantile.unsqueeze(1)).mean(1)
        row, own = self.sampler.train_items(user)
        of_own = above(pair_products(query, row, items, own), quantile[row])
        return losses.index_add(0, row, of_own).mean() / n_items


class MFTalos(TopKAccuracyLoss, MFSSM):
    """Matrix factorisation with the top-K accuracy loss."""


class LightGCNTalos(TopKAccuracyLoss, LightGCNSSM):
    """LightGCN with the top-K accuracy loss."""
