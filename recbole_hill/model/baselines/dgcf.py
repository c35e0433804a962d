"""DGCF: LightGCN with an adjacency for each of several intents, learnt by routing.

Reference:
    Xiang Wang et al. "Disentangled Graph Collaborative Filtering." in SIGIR 2020.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_hill.checks import integer
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.bases.routing import (
    chunk_count,
    chunk_products,
    chunk_sums,
    join_chunks,
    split_chunks,
)


class DGCF(GraphModel):
    """A chunk of the vectors for each of K intents, and edge scores S, 1 at first.

    T times in each layer

        r_u = sum_v L(softmax S)_uv e_v,    S_uv += <unit(r_u), tanh(unit(e_v))>

    L normalising each intent by its own degrees (Eq. 6-11); the layer's output is the last r, and
    the vectors are the mean over layers, e itself included. BPR with L2, and ``cor_weight`` times
    the distance correlation of neighbouring intents over a sample of nodes (Eq. 14-15).

    RecBole's class of this name computes the same vectors with matrices of all edges by all nodes
    in COO form, which makes an ml-100k epoch minutes long, and its L2 term is of unsquared norms.
    The sample is RecBole's: users, and as many items, the larger of both over the batches an epoch.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_factors`` (K), ``n_iterations`` (T), ``cor_weight``, ``train_batch_size``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_factors, self.cor_weight = chunk_count(config), config["cor_weight"]
        self.n_layers = config["n_layers"]
        self.n_iterations = integer("n_iterations", config["n_iterations"])
        batches = dataset.inter_num // config["train_batch_size"] + 1
        self.n_sampled = max(2, max(self.n_users, self.n_items) // batches)

    def propagate(self, ego: Tensor) -> Tensor:
        """The routed layers and their mean."""
        nodes = total = split_chunks(ego, self.n_factors)
        scores = ego.new_ones(self.n_factors, len(self.graph.col))
        for layer in range(self.n_layers):
            heads = normalize(nodes, dim=2).tanh()
            for iteration in range(self.n_iterations):
                routed = self.spread(scores, nodes)
                if (layer, iteration) == (self.n_layers - 1, self.n_iterations - 1):
                    break  # nobody reads the last scores
                scores = scores + chunk_products(self.graph, normalize(routed, dim=2), heads)
            nodes = routed
            total = total + nodes
        return join_chunks(total / (self.n_layers + 1))

    def spread(self, scores: Tensor, nodes: Tensor) -> Tensor:
        """Returns L(softmax S) e, (K, N, D / K), of edge scores (K, E) and nodes."""
        chosen = scores.softmax(0)
        degree = chosen.new_zeros(nodes.shape[:2]).index_add(1, self.graph.row, chosen)
        scale = degree.clamp_min(1e-8).rsqrt().unsqueeze(2)
        return scale * chunk_sums(self.graph, chosen, scale * nodes)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR, L2 and the correlation of intents."""
        loss = super().embedding_loss(users, items, interaction)
        if self.n_factors == 1 or not self.cor_weight:
            return loss
        drawn = [_sample(table, self.n_sampled) for table in (users, items)]
        return loss + self.cor_weight * self.correlation(torch.cat(drawn))

    def correlation(self, nodes: Tensor) -> Tensor:
        """Returns neighbouring intents' distance correlations, summed, over K (K + 1) / 2.

        Args:
            nodes: A sample of vectors, shape (n, D).
        """
        parts = nodes.chunk(self.n_factors, 1)
        total = sum(distance_correlation(x, y) for x, y in pairwise(parts))
        return total / (self.n_factors * (self.n_factors + 1) / 2)


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Returns the distance correlation of two samples, (n, P) and (n, Q): in [0, 1]."""
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
    """Returns at most n rows, padding (the first) left out."""
    return table[1 + torch.randperm(len(table) - 1, device=table.device)[:n]]
