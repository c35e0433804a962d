"""Mult-VAE: a variational auto-encoder of a user's row under a multinomial likelihood.

Reference:
    Dawen Liang et al. "Variational Autoencoders for Collaborative Filtering." in WWW 2018.
"""

import torch
from recbole.model.general_recommender import multivae
from torch import Tensor


class KeptUpdates:
    """A mixin, before RecBole's auto-encoders: the updates that the KL weight anneals by.

    They are kept with the weights, so that a killed run resumes where it was.
    """

    @property
    def update(self) -> int:
        """Steps taken so far."""
        return int(self.updates)

    @update.setter
    def update(self, value: int) -> None:
        self.register_buffer("updates", torch.tensor(value))


class MultVAE(KeptUpdates, multivae.MultiVAE):
    """RecBole's MultiVAE with the paper's sampling, z = mu + sigma epsilon, epsilon ~ N(0, 1).

    RecBole draws epsilon with a standard deviation of .01, which all but switches the sampling off.
    Its ``latent_dimension`` holds mu and log sigma^2 side by side: 400 for the paper's 200. Its
    softmax is over item 0, the padding, too, and its batches hold the padding user, whose row is
    empty: one item and one user more, which is negligible.
    """

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Draws the latent vectors, (B, Z); their means outside training."""
        if not self.training:
            return mu
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp()
