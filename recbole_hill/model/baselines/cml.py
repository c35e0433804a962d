"""CML: users and items in one metric space, trained by a weighted hinge loss.

Reference:
    Cheng-Kang Hsieh et al. "Collaborative Metric Learning." in WWW 2017.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.model.bases.factorization import MatrixFactorization, SampledScores


class CML(MatrixFactorization):
    """Sum of ln(rank + 1) (margin + d(u, i) - min_j d(u, j))_+, d the squared distance, as in BARS.

    The rank is estimated from the n drawn negatives: the share of them within the margin, times the
    number of items. The hardest negative makes the hinge. Every row is clipped to length 1 after a
    step. (This class clips before the vectors are next used. So the first step, too, has clipped
    vectors, where BARS's has the drawn ones; from then on the sequence is the same.)

    The score -|u - i|^2 equals one inner product, 2 u.i - |i|^2, up to a constant per user. There
    is no covariance term, as in BARS (matching/libs/CollMetric): Adam, tables from N(0, 1 / D),
    negatives that are never items of u. BARS measures recall and ndcg at 20 and 50 every 30 steps
    on 1,000 test users, and stops at the fifth time without a better sum. The published rows are
    from these users.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s without
    ``reg_weight``, ``margin``.
    """

    sums_over_batch = True
    has_l2 = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.margin = config["margin"]

    @torch.no_grad()
    def clip(self) -> None:
        """Scales every row of the tables that is longer than 1 to length 1."""
        for table in (self.user_embedding, self.item_embedding):
            table.weight.div_(table.weight.norm(dim=1, keepdim=True).clamp_min(1))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns [2u; -1] and [i; |i|^2], (U, D + 1) and (I, D + 1)."""
        self.clip()
        users, items = super().user_item_embeddings()
        left = torch.cat((2 * users, -torch.ones_like(users[:, :1])), 1)
        return left, torch.cat((items, items.square().sum(1, keepdim=True)), 1)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The weighted hinge of the hardest drawn negative, summed over the batch."""
        user, positive, negative = self.draw(interaction)
        # With s = 2 u.i - |i|^2, d(u, i) - d(u, j) is s_uj - s_ui.
        query = users[user]
        near = (query * items[positive]).sum(1)
        with torch.no_grad():  # only the hardest negative has a gradient
            others = SampledScores.apply(query, items, negative)  # (B, n)
            violators = others > near.unsqueeze(1) - self.margin
            rank = violators.float().mean(1) * (self.n_items - 1)
            hardest = negative.gather(1, others.argmax(1, keepdim=True)).squeeze(1)
        hinge = F.relu(self.margin - near + (query * items[hardest]).sum(1))
        return (rank.log1p() * hinge).sum()
