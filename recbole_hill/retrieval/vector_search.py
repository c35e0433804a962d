"""Search by vectors, for users given by their ids."""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_hill.retrieval.base import Retriever


class VectorSearch:
    """Search by vectors, for users given by their ids.

    Args:
        vectors_of: Function from user ids (B,) to user vectors (B, D).
        retriever: Retriever over the item vectors.
    """

    def __init__(self, vectors_of: Callable[[Tensor], Tensor], retriever: Retriever):
        self.vectors_of, self.retriever = vectors_of, retriever

    @property
    def pairs(self) -> list[int]:
        """Number of inner products so far, with nodes and items, as a list of one number."""
        return [self.retriever.scored]

    @property
    def queries(self) -> int:
        """Number of users searched for so far."""
        return self.retriever.queries

    @property
    def block(self) -> int:
        """Number of users searched at once; it bounds the memory."""
        return self.retriever.block

    @torch.no_grad()
    def search(
        self, users: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the lists that :meth:`Retriever.search` finds for the vectors of users (B,)."""
        return self.retriever.search(self.vectors_of(users), k, exclude)

    @torch.no_grad()
    def kept_nodes(self, users: Tensor) -> list[Tensor]:
        """Returns the nodes that a beam search keeps for the users, depth by depth, finest first.

        Args:
            users: User ids, shape (B,), at most :attr:`block` of them.

        Returns:
            Node ids of each depth, (B, at most the width), -1 where there is no node.
        """
        return self.retriever.kept_nodes(self.vectors_of(users))
