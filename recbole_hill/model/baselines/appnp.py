"""APPNP: personalised PageRank of the embeddings, with the settings of MGDCF's authors.

Reference:
    Johannes Gasteiger et al. "Predict then Propagate: Graph Neural Networks meet Personalized
    PageRank." in ICLR 2019.
"""

from recbole_hill.model.baselines.mgdcf import MGDCF


class APPNP(MGDCF):
    """MGDCF's diffusion with beta = 1 - alpha, for which gamma is 1, and with one negative: BPR.

    No MLP precedes the diffusion, because the features are embeddings. PyTorch Geometric's
    ``APPNP`` computes the same, as a test shows, but it draws its edge dropout anew at every step
    and costs more on a CPU.
    """
