"""Macrid-VAE: an auto-encoder of a user's row, disentangled over prototypes of items.

Reference:
    Jianxin Ma et al. "Learning Disentangled Representations for Recommendation." in NeurIPS 2019.
"""

import torch.nn.functional as F
from recbole.model.general_recommender import macridvae
from torch import Tensor

from recbole_hill.host.dropout import dropout
from recbole_hill.model.baselines.multvae import KeptUpdates


class MacridVAE(KeptUpdates, macridvae.MacridVAE):
    """RecBole's MacridVAE, with two changes.

    A resumed run continues the annealing where the killed run stopped. The encoder of prototype k
    reads dropout(unit(row * c_k)), drawn anew for each k, as in the authors' code. RecBole scales
    the row and applies dropout once, and masks it afterwards. Then a prototype that few of a user's
    items belong to hardly reaches the encoder.
    """

    def forward(self, rating_matrix: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Returns ln sum_k c_ik exp(<z_k, i> / tau), (B, I), and each prototype's mu and variance.

        Args:
            rating_matrix: Train rows, shape (B, I).
        """
        cores, items = (F.normalize(t.weight) for t in (self.k_embedding, self.item_embedding))
        logits = items @ cores.T / self.tau
        noisy = self.training and not self.nogb
        shares = F.gumbel_softmax(logits) if noisy else logits.softmax(1)  # (I, K)
        total, means, log_variances = 0.0, [], []
        for share in shares.T:
            row = dropout(F.normalize(rating_matrix * share), self.drop_out, self.training)
            mean, log_variance = self.encoder(row).split(self.embedding_size, dim=1)
            means.append(F.normalize(mean))
            log_variances.append(log_variance)
            z = F.normalize(self.reparameterize(means[-1], log_variance))
            total = total + share * (z @ items.T / self.tau).exp()
        return total.log(), means, log_variances
