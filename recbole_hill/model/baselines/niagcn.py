"""NIA-GCN: neighbours interact with each other, and every depth contributes to the score directly.

Reference:
    Jianing Sun et al. "Neighbor Interaction Aware Graph Convolution Networks for Recommendation."
    in SIGIR 2020.
"""

import torch
from torch import Tensor, nn

from recbole_hill.model.bases.graph_model import GraphModel


class NIAGCN(GraphModel):
    """A node's vector at depth k is tanh(W_k m_k + V_k p_k); scores combine all pairs of depths.

    m_k is the mean of the node's depth-k neighbours, and p_k the mean of their pairwise products.
    The score is sum_jk C_jk <user at depth j, item at depth k>.

    There is no public code and no published setting. The Yelp2018 and Amazon-Book numbers are from
    NGAT4Rec's comparison (arXiv 2010.12256), says BARS; the repository of NGAT4Rec has no NIA-GCN.
    Two published Gowalla results differ by a quarter: .1359/.1106 in HILL's Table 3, and
    .1726/.1358 in BARS, from a list of papers. So this class is the paper's idea as we understand
    it, and the row of Table 3 of which we are least sure. These choices are ours: separate weights
    for users, items and depths, which start near LightGCN's mean; all neighbours instead of a
    sample. So m_k is the mean over random walks of k steps. p_k is the mean product of two
    *different* neighbours at depth 1, and of the ends of two independent walks at larger depths.

    Settings: ``MatrixFactorization``'s, ``n_layers`` (K).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers, size = config["n_layers"], config["embedding_size"]
        shape = 2, self.n_layers, size, size  # users and items
        self.mean_weight = nn.Parameter(torch.eye(size).expand(shape).clone())
        self.pair_weight = nn.Parameter(torch.empty(shape))
        nn.init.xavier_uniform_(self.pair_weight.view(-1, size))
        depths = self.n_layers + 1
        self.depth_weight = nn.Parameter(torch.full((depths, depths), 1 / depths))

    def depths(self, ego: Tensor) -> list[Tensor]:
        """Returns the node vectors of depths 0 to K, each of shape (U + I, D)."""
        by_depth, mean = [ego], ego
        for k in range(self.n_layers):
            before, mean = mean, self.graph.neighbour_means(mean)
            pairs = self.distinct_pairs(mean, before) if k == 0 else mean.square()
            parts = zip(
                mean.split((self.n_users, self.n_items)),
                pairs.split((self.n_users, self.n_items)),
                strict=True,
            )
            sides = [
                (m @ self.mean_weight[side, k] + p @ self.pair_weight[side, k]).tanh()
                for side, (m, p) in enumerate(parts)
            ]
            by_depth.append(torch.cat(sides))
        return by_depth

    def distinct_pairs(self, mean: Tensor, ego: Tensor) -> Tensor:
        """Returns the mean of e_i * e_j over pairs of different neighbours; 0 without pairs."""
        degree = self.graph.degree.unsqueeze(1)
        squares = self.graph.neighbour_means(ego.square())
        return (degree * mean.square() - squares) / (degree - 1).clamp_min(1) * (degree > 1)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the users' depths side by side and the items' mixed by C, both (K + 1) D wide."""
        depths = self.depths(self.ego())
        users, items = zip(
            *(depth.split((self.n_users, self.n_items)) for depth in depths), strict=True
        )
        mixed = torch.einsum("jk,kid->ijd", self.depth_weight, torch.stack(items))
        return torch.cat(users, 1), mixed.flatten(1)
