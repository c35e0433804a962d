"""Embedding tables propagated over the interaction graph: the base of the LightGCN family."""

import torch
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.factorization import MatrixFactorization
from recbole_hill.model.fit_once import train_matrix


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
        ego = torch.cat((self.user_embedding.weight, self.item_embedding.weight))
        return self.propagate(ego).split((self.n_users, self.n_items))
