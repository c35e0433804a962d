"""DGCF: LightGCN with one adjacency for each of several intents, learnt by routing.

Reference:
    Xiang Wang et al. "Disentangled Graph Collaborative Filtering." in SIGIR 2020.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_hill.data.graph import product
from recbole_hill.model.bases.graph_model import GraphModel, distinct, last_to
from recbole_hill.model.bases.routing import (
    chunk_count,
    chunk_products,
    chunk_sums,
    edges_of,
    join_chunks,
    split_chunks,
)


class DGCF(GraphModel):
    """Vectors of K chunks, one chunk per intent, and edge scores S that start equal.

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
        self.correlates = self.n_factors > 1 and self.cor_weight > 0
        batches = dataset.inter_num // config["train_batch_size"] + 1
        self.n_sampled = max(2, max(self.n_users, self.n_items) // batches)

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of the routed layers, and the table rows."""
        edges, own = edges_of(self.graph), ego[nodes]
        x, total, scores = split_chunks(ego, self.n_factors), split_chunks(own, self.n_factors), 0.0
        last = self.n_layers * self.n_iterations - 1
        scale = self.graph.degree.clamp_min(1).rsqrt().unsqueeze(1)
        for step, rows in enumerate(last_to(nodes, last + 1)):
            if step % self.n_iterations == 0:
                heads = normalize(x, dim=2).tanh()
            if step == 0:  # the scores are equal, and so are the intents' degrees
                whole = scale[rows] * product(self.graph.plain(), scale * ego, rows)
                routed = split_chunks(whole, self.n_factors)
            else:
                routed = self.spread(scores, x, rows)
            if step < last:
                scores = scores + chunk_products(edges, normalize(routed, dim=2), heads)
            if step % self.n_iterations == self.n_iterations - 1:
                x = routed
                total = total + (routed if step == last else routed[:, nodes])
        return join_chunks(total / (self.n_layers + 1)), own

    def spread(self, scores: Tensor, x: Tensor, nodes: Tensor | slice) -> Tensor:
        """Returns L(softmax S) e of some nodes, (K, n, D / K).

        Args:
            scores: Edge scores S, shape (K, E).
            x: Chunks e of all nodes, shape (K, N, D / K).
            nodes: Shape (n,); or all.
        """
        chosen = scores.softmax(0)
        degree = chosen.new_zeros(x.shape[:2]).index_add(1, self.graph.row, chosen)
        scale = degree.clamp_min(1e-8).rsqrt().unsqueeze(2)
        edges = edges_of(self.graph, nodes)
        return scale[:, nodes] * chunk_sums(edges, chosen[:, edges.places], scale * x)

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of one batch, from the vectors of the drawn and the sampled nodes alone."""
        if not self.correlates:
            return super().calculate_loss(interaction)
        users, items, places = distinct(*self.draw(interaction))
        some = self.sample()
        vectors, tables = self.vectors_of(torch.cat((users, some[0])), torch.cat((items, some[1])))
        loss = self.bpr_loss(*vectors, *places, tables)
        sampled = vectors[0][len(users) :], vectors[1][len(items) :]
        return loss + self.cor_weight * self.correlation(torch.cat(sampled))

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """BPR, L2 and the correlation of the intents."""
        loss = super().embedding_loss(users, items, interaction)
        if not self.correlates:
            return loss
        some = self.sample()
        sampled = torch.cat((users[some[0]], items[some[1]]))
        return loss + self.cor_weight * self.correlation(sampled)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Draws the ids of different users, and of as many items; never the padding."""
        device = self.user_embedding.weight.device
        ids = (torch.randperm(n - 1, device=device) + 1 for n in (self.n_users, self.n_items))
        return tuple(some[: self.n_sampled] for some in ids)

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
