"""A user's history: its items in the train set, without the target that a training row asks for."""

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_sums


class Histories(NamedTuple):
    """The histories of B users, one after another.

    Attributes:
        crow: Where each history starts, and the last ends, shape (B + 1,).
        row: The user's position among the B, of each of the E entries, shape (E,).
        item: Item ids, shape (E,).
        counted: Whether the entry is not the target, shape (E,).
    """

    crow: Tensor
    row: Tensor
    item: Tensor
    counted: Tensor


def histories(graph: InteractionGraph, users: Tensor, left_out: Tensor | None = None) -> Histories:
    """Looks up the histories of some users.

    Args:
        graph: Of the train set.
        users: User ids, shape (B,), repetitions included.
        left_out: An item of each user that does not count, shape (B,).

    Returns:
        The histories in the order of the users.
    """
    crow, row, column = graph.rows(users)
    item = column - graph.n_users
    counted = torch.ones_like(item, dtype=torch.bool)
    if left_out is not None:
        counted = item != left_out[row]
    return Histories(crow, row, item, counted)


def history_means(
    graph: InteractionGraph, table: Tensor, users: Tensor, left_out: Tensor | None = None
) -> Tensor:
    """Returns the mean item vector of each user's history, 0 where nothing counts.

    Args:
        graph: Of the train set.
        table: Item vectors, shape (I, D).
        users: User ids, shape (B,).
        left_out: An item of each user that does not count, shape (B,).

    Returns:
        Shape (B, D).
    """
    crow, row, item, counted = histories(graph, users, left_out)
    weights = counted.to(table.dtype)
    count = weights.new_zeros(len(users)).index_add(0, row, weights)
    return segment_sums(weights / count.clamp_min(1)[row], table, item, crow)
