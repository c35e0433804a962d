"""Embedding tables propagated over the interaction graph: the base of the LightGCN family."""

import torch
from torch import Tensor

from recbole_hill.checks import integer
from recbole_hill.data.graph import InteractionGraph, propagate, propagate_to
from recbole_hill.model.bases.factorization import MatrixFactorization
from recbole_hill.model.bases.fit_once import train_matrix


class GraphModel(MatrixFactorization):
    """Matrix factorisation whose vectors are ``propagate``d tables; a subclass writes that.

    Users and items are nodes of one graph, users first.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.graph = InteractionGraph(train_matrix(dataset))

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the final node vectors, shape (U + I, D), of the tables, same shape."""
        raise NotImplementedError

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the propagated tables."""
        return self.propagate(self.ego()).split((self.n_users, self.n_items))

    def ego(self) -> Tensor:
        """Returns the tables, one under the other, shape (U + I, D)."""
        return torch.cat((self.user_embedding.weight, self.item_embedding.weight))


class LightGCNModel(GraphModel):
    """A graph model of LightGCN's vectors, the mean of layers with the ego among them.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = integer("n_layers", config["n_layers"], least=0)

    def propagate(self, ego: Tensor) -> Tensor:
        """The mean of layers on the whole graph."""
        return propagate(self.graph.normalized(), ego, self.n_layers, with_ego=True)

    def vectors_of(
        self, users: Tensor, items: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Returns the vectors of some users and items alone, which costs a training step less.

        Args:
            users: Ids, shape (n,).
            items: Ids, shape (m,).

        Returns:
            The final vectors, shapes (n, D) and (m, D), and those of layer 0, likewise.
        """
        nodes, matrix = torch.cat((users, items + self.n_users)), self.graph.normalized()
        both = propagate_to(nodes, matrix, self.ego(), self.n_layers, with_ego=True)
        return tuple(rows.split((len(users), len(items))) for rows in both)
