"""A user's history: the user's train items, without the target of a training row."""

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.attention import segment_sums


class Histories(NamedTuple):
    """The histories of B users, one after another, with E entries.

    Attributes:
        crow: Start of each history, and the end of the last, shape (B + 1,).
        row: For each entry the user's position among the B, shape (E,).
        item: Item ids, shape (E,).
        counted: Whether the entry counts, because it is not the target, shape (E,).
    """

    crow: Tensor
    row: Tensor
    item: Tensor
    counted: Tensor


def histories(graph: InteractionGraph, users: Tensor, left_out: Tensor | None = None) -> Histories:
    """Looks up the histories of some users.

    Args:
        graph: Graph of the train set.
        users: User ids, shape (B,), repetitions included.
        left_out: For each user an item that does not count, shape (B,).

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
    """Returns the mean item vector of each user's history; 0 if no entry counts.

    Args:
        graph: Graph of the train set.
        table: Item vectors, shape (I, D).
        users: User ids, shape (B,).
        left_out: For each user an item that does not count, shape (B,).

    Returns:
        Shape (B, D).
    """
    crow, row, item, counted = histories(graph, users, left_out)
    weights = counted.to(table.dtype)
    count = weights.new_zeros(len(users)).index_add(0, row, weights)
    return segment_sums(weights / count.clamp_min(1)[row], table, item, crow)
