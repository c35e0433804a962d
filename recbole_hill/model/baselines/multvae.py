"""Mult-VAE: a variational auto-encoder of a user's row with a multinomial likelihood.

Reference:
    Dawen Liang et al. "Variational Autoencoders for Collaborative Filtering." in WWW 2018.
"""

import torch
from recbole.model.general_recommender import multivae
from torch import Tensor


class KeptUpdates:
    """A mixin, listed before RecBole's auto-encoders: saves the number of updates with the weights.

    The weight of the KL term anneals by this number, so a resumed run continues where it stopped.
    """

    @property
    def update(self) -> int:
        """Number of steps taken so far."""
        return int(self.updates)

    @update.setter
    def update(self, value: int) -> None:
        self.register_buffer("updates", torch.tensor(value))


class MultVAE(KeptUpdates, multivae.MultiVAE):
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
