"""Macrid-VAE: an auto-encoder of a user's row, disentangled over prototypes of items.

Reference:
    Jianxin Ma et al. "Learning Disentangled Representations for Recommendation." in NeurIPS 2019.
"""

import torch.nn.functional as F
from recbole.model.general_recommender import macridvae
from torch import Tensor

from recbole_hill.model.bases.autoencoder import SparseRows, UserRows


class MacridVAE(SparseRows, macridvae.MacridVAE):
    """RecBole's MacridVAE, whose encoder of prototype k reads dropout(unit(row * c_k)).

    The dropout is drawn anew for each k, as in the authors' code. RecBole scales the row and
    applies dropout once, and masks it afterwards. Then a prototype that few of a user's items
    belong to hardly reaches the encoder.
    """

    def forward(self, rows: UserRows) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Returns ln sum_k c_ik exp(<z_k, i> / tau), (B, I), and each prototype's mu and variance.

        Args:
            rows: The train items of B users.
        """
        cores, items = (F.normalize(t.weight) for t in (self.k_embedding, self.item_embedding))
        logits = items @ cores.T / self.tau
        noisy = self.training and not self.nogb
        shares = F.gumbel_softmax(logits) if noisy else logits.softmax(1)  # (I, K)
        total, means, log_variances = 0.0, [], []
        for share in shares.T:
            mean, log_variance = self.encode(rows, share[rows.item]).chunk(2, 1)
            means.append(F.normalize(mean))
            log_variances.append(log_variance)
            z = F.normalize(self.reparameterize(means[-1], log_variance))
            total = total + share * (z @ items.T / self.tau).exp()
        return total.log(), means, log_variances

    def divergence(self, means: list[Tensor], log_variances: list[Tensor]) -> Tensor:
        """Returns the prototypes' mean KL divergences in sum; the means have length 1."""
        return sum(0.5 * (v.exp() - 1 - v).sum(1).mean() for v in log_variances)

    def calculate_loss(self, interaction) -> Tensor:
        """The loss, plus RecBole's norms of the weights if ``reg_weights`` asks for them."""
        loss = super().calculate_loss(interaction)
        return loss + self.reg_loss() if any(self.regs) else loss
