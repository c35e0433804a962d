"""NESCL: neighbourhood-enhanced supervised contrastive learning.

Reference:
    Peijie Sun et al. "Neighborhood-Enhanced Supervised Contrastive Learning for Collaborative
    Filtering." in TKDE 2024.

The paper leaves some details open. They follow the authors' public code: the loss averages over
anchors; every batch draws a new pair of views; the softmax runs over the positives of the first
view; repeated nodes of a batch count each time; the regulariser is RecBole's unsquared norm.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recbole_hill.checks import integer
from recbole_hill.data.graph import InteractionGraph, propagate, propagate_to
from recbole_hill.data.neighbours import nearest_neighbours
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.losses import PRECISIONS, batch_norms, bpr, neighbour_contrast, temperature


class NESCL(EmbeddingModel):
    """LightGCN vectors trained by BPR and a neighbourhood-enhanced contrastive loss.

    loss = BPR(Z) + ssl_weight * contrast(Z', Z'') + reg_weight * norms. Z is from the whole graph;
    Z' and Z'' are from two randomly thinned graphs. The first ``ssl_warmup_epochs`` epochs train
    without the contrast: from a cold start its gradient, of scale ssl_weight / (tau |z|), is much
    larger than BPR's for many epochs.

    Settings: ``embedding_size``, ``n_layers``, ``with_ego`` (whether the mean includes layer 0),
    ``reg_weight``, ``use_bpr``, ``ssl_weight``, ``ssl_tau``, ``ssl_form`` (in | out),
    ``ssl_warmup_epochs``, ``ssl_precision`` (float32 | bfloat16), ``dropout_kind`` (node | edge),
    ``dropout_rate``, ``n_neighbours``, ``neighbour_draw`` (uniform | similarity).

    Attributes:
        edges_among_items: Whether the graph may have edges between items, not of users alone.
    """

    edges_among_items: ClassVar[bool] = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.with_ego = config["with_ego"]
        # Without layer 0 the mean needs at least one layer.
        self.n_layers = integer("n_layers", config["n_layers"], least=0 if self.with_ego else 1)
        self.reg_weight = config["reg_weight"]
        self.use_bpr = config["use_bpr"]
        self.ssl_weight = config["ssl_weight"]
        self.ssl_tau = temperature("ssl_tau", config["ssl_tau"])
        self.ssl_form = config["ssl_form"]
        self.ssl_warmup_epochs = config["ssl_warmup_epochs"]
        precision = config["ssl_precision"]
        self.ssl_precision = PRECISIONS[precision]
        self.dropout_kind = config["dropout_kind"]
        self.dropout_rate = config["dropout_rate"]
        self.neighbour_draw = config["neighbour_draw"]

        self.user_embedding = nn.Embedding(self.n_users, config["embedding_size"])
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.xavier_uniform_(embedding.weight)

        interactions = dataset.inter_matrix(form="csr")
        self.graph = InteractionGraph(interactions)
        ids, cumulative = _neighbour_table(interactions, config["n_neighbours"])
        if self.neighbour_draw == "uniform":
            cumulative = _uniform(cumulative)
        self.register_buffer("neighbour_ids", ids, persistent=False)
        self.register_buffer("neighbour_cdf", cumulative, persistent=False)
        self.epoch = 0

    def begin_epoch(self, epoch: int) -> None:
        """Stores the epoch; the contrast starts after ``ssl_warmup_epochs``."""
        self.epoch = epoch

    @property
    def _ego(self) -> Tensor:
        return torch.cat((self.user_embedding.weight, self.item_embedding.weight))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns LightGCN's propagated vectors on the whole graph, (U, D) and (I, D)."""
        graph = self.graph.normalized()
        nodes = propagate(graph, self._ego, self.n_layers, with_ego=self.with_ego)
        return nodes[: self.n_users], nodes[self.n_users :]

    def calculate_loss(self, interaction) -> Tensor:
        """NESCL's loss on a batch of <user, item, negative item>, from the batch's rows alone."""
        user, positive, negative = self._ids(interaction)
        nodes = torch.cat((user, positive + self.n_users, negative + self.n_users))
        rows, own = self._rows(nodes, self.graph.normalized(), self._ego)
        return self._loss(rows.chunk(3), own.chunk(3), user, positive)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same loss, given the vectors of all users (U, D) and items (I, D)."""
        user, positive, negative = self._ids(interaction)
        own_items = self.item_embedding(positive), self.item_embedding(negative)
        rows = users[user], items[positive], items[negative]
        return self._loss(rows, (self.user_embedding(user), *own_items), user, positive)

    def _ids(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(interaction[key] for key in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))

    def _rows(self, nodes: Tensor, matrix: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        return propagate_to(nodes, matrix, ego, self.n_layers, with_ego=self.with_ego)

    def _loss(self, rows, own_rows, user: Tensor, positive: Tensor) -> Tensor:
        """The loss of triples, given their final and layer-0 vectors, three of (B, D) each."""
        contrast = self.ssl_weight > 0 and self.epoch >= self.ssl_warmup_epochs
        loss = rows[0].new_zeros(())
        if self.use_bpr or not contrast:
            u, i, j = rows
            loss = bpr((u * i).sum(1), (u * j).sum(1))
            loss = loss + self.reg_weight * batch_norms(*own_rows)
        if contrast:
            loss = loss + self.ssl_weight * self.contrast_loss(user, positive)
        return loss

    def contrast_loss(self, user: Tensor, item: Tensor) -> Tensor:
        """The contrastive term on two new views, for batch users (B,) and items (B,)."""
        drop = self.graph.drop_nodes if self.dropout_kind == "node" else self.graph.drop_edges
        views = [drop(self.dropout_rate) for _ in range(2)]
        anchors = torch.cat((user, item + self.n_users))
        nodes = torch.cat((anchors, self.draw_neighbours(anchors)))
        nodes, places = torch.unique(nodes, return_inverse=True)
        users, items, neighbours = places.split((len(user), len(item), len(anchors)))
        ego = self._ego
        return neighbour_contrast(
            *(self._rows(nodes, view, ego)[0] for view in views),
            users,
            items,
            neighbours,
            tau=self.ssl_tau,
            form=self.ssl_form,
            precision=self.ssl_precision,
        )

    def draw_neighbours(self, nodes: Tensor) -> Tensor:
        """Draws for each node one of its most similar nodes; a node without any gives itself.

        Args:
            nodes: Shape (B,).

        Returns:
            Shape (B,).
        """
        draw = torch.rand(len(nodes), 1, device=nodes.device)
        which = (draw >= self.neighbour_cdf[nodes]).sum(1, keepdim=True)
        return self.neighbour_ids[nodes].gather(1, which).squeeze(1)


def _neighbour_table(interactions, k: int) -> tuple[Tensor, Tensor]:
    """Returns the similar nodes, (U + I, k), and the cumulative shares of their similarities."""
    n_users = interactions.shape[0]
    user_ids, user_similarity = nearest_neighbours(interactions, k)
    item_ids, item_similarity = nearest_neighbours(interactions.T, k)
    ids = np.concatenate((user_ids, item_ids + n_users))
    return torch.from_numpy(ids), _cumulative(np.concatenate((user_similarity, item_similarity)))


def _cumulative(weights: np.ndarray) -> Tensor:
    """Returns cumulative shares (N, k) that reach 1 at the last entry with a weight."""
    cumulative = torch.from_numpy(weights).double().cumsum(1)
    total = cumulative[:, -1:]
    share = torch.where(total > 0, cumulative / total.clamp_min(1e-12), torch.ones(()).double())
    return share.float()


def _uniform(cumulative: Tensor) -> Tensor:
    """Returns the cumulative shares if every neighbour with a weight is equally likely."""
    steps = torch.diff(cumulative, dim=1, prepend=torch.zeros(len(cumulative), 1))
    return _cumulative((steps > 0).float().numpy())
