"""Embedding tables propagated over the interaction graph: the base of the LightGCN family."""

from typing import ClassVar

import torch
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph, propagate, propagate_to
from recbole_hill.model.bases.factorization import MatrixFactorization
from recbole_hill.model.bases.fit_once import train_matrix


class GraphModel(MatrixFactorization):
    """Matrix factorisation with propagated tables as vectors; a subclass defines ``propagate``.

    Users and items are nodes of one graph, users first.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.graph = InteractionGraph(train_matrix(dataset))

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the final node vectors, shape (U + I, D).

        Args:
            ego: The tables, user rows first, shape (U + I, D).
        """
        raise NotImplementedError

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the propagated tables."""
        return self.propagate(self.ego()).split((self.n_users, self.n_items))

    def ego(self) -> Tensor:
        """Returns the user table above the item table, shape (U + I, D)."""
        return torch.cat((self.user_embedding.weight, self.item_embedding.weight))


class LightGCNModel(GraphModel):
    """A graph model with LightGCN's vectors: the mean of all layers, layer 0 included.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``.

    Attributes:
        edges_among_items: Whether the graph may have edges between items, not of users alone.
    """

    edges_among_items: ClassVar[bool] = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the mean of the layers on the whole graph."""
        return propagate(self.graph.normalized(), ego, self.n_layers, with_ego=True)

    def vectors_of(
        self, users: Tensor, items: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Returns the vectors of some users and items alone, which makes a training step cheaper.

        Args:
            users: Ids, shape (n,).
            items: Ids, shape (m,).

        Returns:
            The final vectors, shapes (n, D) and (m, D), and the layer-0 vectors, of the same
            shapes.
        """
        nodes, matrix = torch.cat((users, items + self.n_users)), self.graph.normalized()
        both = propagate_to(nodes, matrix, self.ego(), self.n_layers, with_ego=True)
        return tuple(rows.split((len(users), len(items))) for rows in both)
