"""Virtual items: further rows of a catalogue, such as the nodes of an index.

A model that is built on such a train set learns a vector for each virtual item, as for each item.
The virtual items have the ids after the last item.
"""

import numpy as np
import torch
from recbole.data.interaction import Interaction
from scipy import sparse as sp
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph, edge_weights


def with_virtual_items(dataset, n_virtual: int, users: np.ndarray, items: np.ndarray):
    """Returns a train set with virtual items, and with further interactions.

    Args:
        dataset: RecBole's train set. It is not changed.
        n_virtual: Number of virtual items.
        users: RecBole's user ids of the further interactions, shape (E,).
        items: Their items, virtual or not, shape (E,).

    Returns:
        A RecBole dataset that has the two id columns alone.
    """
    columns = {
        field: torch.cat((dataset.inter_feat[field], torch.from_numpy(ids).long()))
        for field, ids in ((dataset.uid_field, users), (dataset.iid_field, items))
    }
    extended = dataset.copy(Interaction(columns))
    field = dataset.iid_field
    names = [f"virtual item {number}" for number in range(n_virtual)]
    tokens = np.concatenate((dataset.field2id_token[field].astype(str), names))
    extended.field2id_token = {**dataset.field2id_token, field: tokens}
    extended.item_feat = None  # virtual items have no features
    return extended


class GraphWithVirtualItems(InteractionGraph):
    """A graph of users, items and virtual items.

    The weight of an edge {v, w} is a product of powers of two degrees, such as (d_v d_w)^-1/2. With
    ``keep_weights`` the edges of virtual items do not change the weights of all other edges:
    between a user and a real item, both degrees count the edges of users and real items alone; all
    other degrees count all edges.

    Args:
        interactions: Binary train matrix, shape (U, I), virtual items last.
        n_virtual: Number of virtual items.
        keep_weights: Whether the weights of edges between users and real items stay as they were.
        members: Edges between real and virtual items, shape (I, I); None if there are none.
    """

    def __init__(
        self,
        interactions: sp.spmatrix,
        n_virtual: int,
        *,
        keep_weights: bool,
        members: sp.spmatrix | None = None,
    ):
        super().__init__(interactions, members)
        self.n_real = len(self) - n_virtual  # users and real items
        self.keep_weights = keep_weights

    def weights(
        self, crow: Tensor, row: Tensor, col: Tensor, left: float = 0.5, right: float = 0.5
    ) -> Tensor:
        """Returns the weights of the edges of a symmetric sub-graph, see the class."""
        weights = super().weights(crow, row, col, left, right)
        if not self.keep_weights:
            return weights
        real = (row < self.n_real) & (col < self.n_real)
        degree = torch.bincount(row[real], minlength=len(self)).float()
        return torch.where(real, edge_weights(degree, row, col, left, right), weights)
