"""GRMF: matrix factorisation with a graph Laplacian regulariser, with or without degree scaling.

Reference:
    Nikhil Rao et al. "Collaborative Filtering with Graph Information: Consistency and Scalable
    Methods." in NIPS 2015; the BPR form is LightGCN's comparison (SIGIR 2020, section 4.1.1).
"""

import torch
from torch import Tensor

from recbole_hill.model.bases.factorization import MatrixFactorization
from recbole_hill.model.bases.fit_once import train_matrix


class GRMF(MatrixFactorization):
    """BPR + graph_weight |e_u - e_i|^2 over the batch's positive pairs, without the negatives.

    GRMF-norm (``normalize``) first divides each vector by the root of its node's degree.

    This is the loss of ``GRMF.py`` in hexiangnan/LightGCN, the code behind both rows of HILL's
    Table 3: the Laplacian term is a mean over the batch and has no factor 1/2. The L2 term is half
    the squared rows, divided by B. Tables start from Xavier's distribution. A batch has distinct
    users, drawn uniformly. Training stops after 100 epochs without a better recall (a test each 20
    epochs). The two weights are arguments there, and those of the published rows are not given.

    Settings: ``MatrixFactorization``'s, ``graph_weight``, ``normalize``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.graph_weight, self.normalize = config["graph_weight"], config["normalize"]
        matrix = train_matrix(dataset)
        for name, axis in (("user_degree", 1), ("item_degree", 0)):
            degree = torch.from_numpy(matrix.sum(axis).A1.copy()).clamp_min(1)
            self.register_buffer(name, degree, persistent=False)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR, L2 and the Laplacian term, on the same draw."""
        drawn = self.draw(interaction)
        user, positive, _ = drawn
        left, right = users[user], items[positive]
        if self.normalize:
            left = left / self.user_degree[user].sqrt().unsqueeze(1)
            right = right / self.item_degree[positive].sqrt().unsqueeze(1)
        laplacian = (left - right).square().sum(1).mean()
        return self.bpr_loss(users, items, *drawn) + self.graph_weight * laplacian
