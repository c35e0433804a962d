"""Macrid-VAE: an auto-encoder of a user's row, disentangled over prototypes of items.

Reference:
    Jianxin Ma et al. "Learning Disentangled Representations for Recommendation." in NeurIPS 2019.
"""

from recbole.model.general_recommender import macridvae

from recbole_hill.model.baselines.multvae import KeptUpdates


class MacridVAE(KeptUpdates, macridvae.MacridVAE):
    """RecBole's MacridVAE, whose annealing resumes where a killed run was."""
