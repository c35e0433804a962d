"""NIA-GCN: neighbours interact with each other, and every depth contributes to the score directly.

Reference:
    Jianing Sun et al. "Neighbor Interaction Aware Graph Convolution Networks for Recommendation."
    in SIGIR 2020.
"""

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import EVERY
from recbole_hill.model.bases.graph_model import GraphModel, last_to, rows_of


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

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns each node's own vector, K means and K pair means side by side, and the first.

        They have the shapes (n, (1 + 2 K) D) and (n, D).
        """
        layers = [ego]
        for rows in last_to(nodes, self.n_layers):
            layers.append(self.graph.neighbour_means(layers[-1], rows))
        own, *means = rows_of(layers, nodes)
        pairs = self.distinct_pairs(means[0], ego, nodes), *(mean.square() for mean in means[1:])
        return torch.cat((own, *means, *pairs), 1), own

    def distinct_pairs(self, mean: Tensor, ego: Tensor, nodes: Tensor | slice = EVERY) -> Tensor:
        """Returns the mean of e_i * e_j over pairs of different neighbours; 0 without pairs.

        Args:
            mean: The means of the nodes' neighbours, shape (n, D).
            ego: Shape (U + I, D).
            nodes: Shape (n,); or all.
        """
        degree = self.graph.degree[nodes].unsqueeze(1)
        squares = self.graph.neighbour_means(ego.square(), nodes)
        return (degree * mean.square() - squares) / (degree - 1).clamp_min(1) * (degree > 1)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors of all users and items, (U, (K + 1) D) and (I, (K + 1) D)."""
        return self.by_depth(*super().user_item_embeddings())

    def vectors_of(
        self, users: Tensor, items: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Returns the vectors of some users and items alone, and their table rows."""
        parts, tables = super().vectors_of(users, items)
        return self.by_depth(*parts), tables

    def by_depth(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the users' depths side by side and the items' mixed by C, both (K + 1) D wide.

        Args:
            users: As ``propagate_to`` returns them, shape (n, (1 + 2 K) D).
            items: The same, shape (m, (1 + 2 K) D).
        """
        sides = []
        weights = self.mean_weight, self.pair_weight
        for parts, of_means, of_pairs in zip((users, items), *weights, strict=True):
            own, *rest = parts.chunk(1 + 2 * self.n_layers, 1)
            means, pairs = rest[: self.n_layers], rest[self.n_layers :]
            both = zip(means, of_means, pairs, of_pairs, strict=True)
            sides.append([own, *((m @ w + p @ v).tanh() for m, w, p, v in both)])
        users, items = sides
        mixed = torch.einsum("jk,kid->ijd", self.depth_weight, torch.stack(items))
        return torch.cat(users, 1), mixed.flatten(1)
