"""DGCF: LightGCN with one adjacency for each of several intents, learnt by routing.

Reference:
    Xiang Wang et al. "Disentangled Graph Collaborative Filtering." in SIGIR 2020.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.bases.routing import (
    chunk_count,
    chunk_products,
    chunk_sums,
    join_chunks,
    split_chunks,
)


class DGCF(GraphModel):
    """Vectors of K chunks, one chunk per intent, and edge scores S that start at 1.

    Each layer repeats T times

        r_u = sum_v L(softmax S)_uv e_v,    S_uv += <unit(r_u), tanh(unit(e_v))>

    where L normalises each intent by its own degrees (Eq. 6-11). The layer's output is the last r.
    The vectors are the mean over the layers and e itself. The loss is BPR with L2, plus
    ``cor_weight`` times the distance correlation of consecutive intents over a sample of nodes (Eq.
    14-15).

    RecBole's class of this name computes the same vectors, with COO matrices of all edges by all
    nodes: one epoch of ml-100k takes minutes. Its L2 term has unsquared norms. The sample is
    RecBole's: users, and as many items; their number is the larger of U and I divided by the
    batches of an epoch.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_factors`` (K), ``n_iterations`` (T), ``cor_weight``, ``train_batch_size``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_factors, self.cor_weight = chunk_count(config), config["cor_weight"]
        self.n_layers = config["n_layers"]
        self.n_iterations = config["n_iterations"]
        batches = dataset.inter_num // config["train_batch_size"] + 1
        self.n_sampled = max(2, max(self.n_users, self.n_items) // batches)

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the mean of the routed layers."""
        nodes = total = split_chunks(ego, self.n_factors)
        scores = ego.new_ones(self.n_factors, len(self.graph.col))
        for layer in range(self.n_layers):
            heads = normalize(nodes, dim=2).tanh()
            for iteration in range(self.n_iterations):
                routed = self.spread(scores, nodes)
                if (layer, iteration) == (self.n_layers - 1, self.n_iterations - 1):
                    break  # the last scores are not used
                scores = scores + chunk_products(self.graph, normalize(routed, dim=2), heads)
            nodes = routed
            total = total + nodes
        return join_chunks(total / (self.n_layers + 1))

    def spread(self, scores: Tensor, nodes: Tensor) -> Tensor:
        """Returns L(softmax S) e, (K, N, D / K).

        Args:
            scores: Edge scores S, shape (K, E).
            nodes: Chunks e of the nodes, shape (K, N, D / K).
        """
        chosen = scores.softmax(0)
        degree = chosen.new_zeros(nodes.shape[:2]).index_add(1, self.graph.row, chosen)
        scale = degree.clamp_min(1e-8).rsqrt().unsqueeze(2)
        return scale * chunk_sums(self.graph, chosen, scale * nodes)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR, L2 and the correlation of the intents."""
        loss = super().embedding_loss(users, items, interaction)
        if self.n_factors == 1 or not self.cor_weight:
            return loss
        drawn = [_sample(table, self.n_sampled) for table in (users, items)]
        return loss + self.cor_weight * self.correlation(torch.cat(drawn))

    def correlation(self, nodes: Tensor) -> Tensor:
        """Returns the sum of consecutive intents' distance correlations, over K (K + 1) / 2.

        Args:
            nodes: A sample of vectors, shape (n, D).
        """
        parts = nodes.chunk(self.n_factors, 1)
        total = sum(distance_correlation(x, y) for x, y in pairwise(parts))
        return total / (self.n_factors * (self.n_factors + 1) / 2)


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Returns the distance correlation, in [0, 1], of two samples, (n, P) and (n, Q)."""
    a, b = (_centered_distances(z) for z in (x, y))

    def covariance(one: Tensor, other: Tensor) -> Tensor:
        return ((one * other).mean().clamp_min(0) + 1e-8).sqrt()

    return covariance(a, b) / ((covariance(a, a) * covariance(b, b)).sqrt() + 1e-10)


def _centered_distances(x: Tensor) -> Tensor:
    norms = x.square().sum(1)
    squared = norms.unsqueeze(0) + norms.unsqueeze(1) - 2 * x @ x.T
    distance = (squared.clamp_min(0) + 1e-8).sqrt()  # the root's slope at 0 is infinite
    rows, columns = distance.mean(0, keepdim=True), distance.mean(1, keepdim=True)
    return distance - rows - columns + distance.mean()


def _sample(table: Tensor, n: int) -> Tensor:
    """Returns at most n random rows, without the padding (the first row)."""
    return table[1 + torch.randperm(len(table) - 1, device=table.device)[:n]]
