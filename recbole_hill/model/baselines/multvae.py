"""Mult-VAE: a variational auto-encoder of a user's row with a multinomial likelihood.

Reference:
    Dawen Liang et al. "Variational Autoencoders for Collaborative Filtering." in WWW 2018.
"""

import torch
from recbole.model.general_recommender import multivae
from torch import Tensor

from recbole_hill.model.bases.autoencoder import SparseRows, UserRows


class MultVAE(SparseRows, multivae.MultiVAE):
    """RecBole's MultiVAE with the paper's sampling, z = mu + sigma epsilon, epsilon ~ N(0, 1).

    RecBole draws epsilon with a standard deviation of .01, which nearly switches the sampling off.
    RecBole's ``latent_dimension`` counts mu and log sigma^2 together: 400 for the paper's 200.
    RecBole's softmax includes item 0, the padding, and its batches include the padding user, whose
    row is empty. This adds one item and one user, which is negligible.
    """

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draws the latent vectors, (B, Z); returns their means outside training."""
        if not self.training:
            return mu
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp()

    def forward(self, rows: UserRows) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the logits of all items (B, I), mu and log sigma^2 of the rows, (B, Z) each."""
        ones = torch.ones_like(rows.item, dtype=torch.float32)
        mu, log_variance = self.encode(rows, ones).chunk(2, 1)
        return self.decoder(self.reparameterize(mu, log_variance)), mu, log_variance

    def divergence(self, mu: Tensor, log_variance: Tensor) -> Tensor:
        """Returns the mean KL divergence from N(0, 1)."""
        return 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
