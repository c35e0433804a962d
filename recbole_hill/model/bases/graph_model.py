"""Embedding tables propagated over the interaction graph: the base of the LightGCN family."""

from typing import ClassVar

import torch
from torch import Tensor

from recbole_hill.data.graph import EVERY, InteractionGraph, propagate, propagate_to
from recbole_hill.model.bases.factorization import MatrixFactorization
from recbole_hill.model.bases.fit_once import train_matrix


class GraphModel(MatrixFactorization):
    """Matrix factorisation with propagated tables as vectors.

    Users and items are nodes of one graph, users first. A subclass defines ``propagate``, or, where
    the vectors of some nodes cost less than those of all, ``propagate_to``: a training step needs
    the drawn nodes' alone.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.graph = InteractionGraph(train_matrix(dataset))

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the final node vectors, shape (U + I, D).

        Args:
            ego: The tables, user rows first, shape (U + I, D).
        """
        return self.propagate_to(EVERY, ego)[0]

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the final vectors of some nodes, and their rows of the tables, both (n, D).

        Args:
            nodes: Shape (n,); or all. Repeated ones are computed again.
            ego: The tables, user rows first, shape (U + I, D).
        """
        return self.propagate(ego)[nodes], ego[nodes]

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of one batch, from the vectors of the drawn nodes alone."""
        return self.drawn_loss(*self.draw(interaction))

    def drawn_loss(self, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of a draw, which computes the vectors of its users and items alone.

        Args:
            user: Ids, shape (B,).
            positive: Ids, shape (B,).
            negative: Ids, shape (B, n).
        """
        users, items, places = distinct(user, positive, negative)
        vectors, tables = self.vectors_of(users, items)
        return self.bpr_loss(*vectors, *places, tables)

    def vectors_of(
        self, users: Tensor, items: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Returns the vectors of some users and items alone.

        Args:
            users: Ids, shape (n,). Repeated ones are computed again.
            items: Ids, shape (m,). Repeated ones are computed again.

        Returns:
            The final vectors, shapes (n, D) and (m, D), and the table rows, of the same shapes.
        """
        nodes = torch.cat((users, items + self.n_users))
        both = self.propagate_to(nodes, self.ego())
        return tuple(rows.split((len(users), len(items))) for rows in both)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the propagated tables."""
        return self.propagate(self.ego()).split((self.n_users, self.n_items))

    def ego(self) -> Tensor:
        """Returns the user table above the item table, shape (U + I, D)."""
        return torch.cat((self.user_embedding.weight, self.item_embedding.weight))


def distinct(
    user: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Returns a draw's different users (n,) and items (m,), and the draw as places in these."""
    users, row = user.unique(return_inverse=True)
    items, place = torch.cat((positive.unsqueeze(1), negative), 1).unique(return_inverse=True)
    return users, items, (row, place[:, 0], place[:, 1:])


def last_to(nodes: Tensor | slice, n_layers: int) -> list[Tensor | slice]:
    """Returns the nodes of each layer: all of them in every layer but the last, which has some."""
    return [*[EVERY] * (n_layers - 1), nodes]


def rows_of(layers: list[Tensor], nodes: Tensor | slice) -> list[Tensor]:
    """Returns some nodes' rows of every layer; the last layer has these rows alone already."""
    return [*(layer[nodes] for layer in layers[:-1]), layers[-1]]


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

    def propagate_to(self, nodes: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of the layers of some nodes, and their layer 0."""
        matrix = self.graph.normalized()
        return propagate_to(nodes, matrix, ego, self.n_layers, with_ego=True)
