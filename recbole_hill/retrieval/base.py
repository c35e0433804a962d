"""The contract of every retriever: (scores, ids) of the best unseen items, in one order."""

import torch
from torch import Tensor


class Retriever:
    """Finds the items with the largest inner products.

    A subclass computes (``_search``); this class checks, maps ids, masks, orders and pads, so that
    exact and approximate search differ in nothing else.

    Args:
        item_vectors: Shape (I, D).
        item_ids: The id of each row, ascending, shape (I,); the row itself if None.
    """

    #: Users searched at once, which bounds the memory.
    block = 1024

    def __init__(self, item_vectors: Tensor, item_ids: Tensor | None = None):
        self.item_vectors = item_vectors
        n_items, device = len(item_vectors), item_vectors.device
        self.item_ids = torch.arange(n_items, device=device) if item_ids is None else item_ids
        if len(self.item_ids) != n_items or bool((torch.diff(self.item_ids) <= 0).any()):
            raise ValueError(f"item_ids must be {n_items} ascending ids, one per item vector")
        #: Inner products (nodes and items) computed since construction, and queries answered.
        self.scored, self.queries = 0, 0

    @torch.no_grad()
    def search(
        self, users: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns each user's k best items that are not excluded.

        Args:
            users: User vectors, shape (B, D).
            k: List length, at least 1.
            exclude: Pair (rows, ids), each (E,): item ``ids[e]`` is not returned for user
                ``rows[e]``. Ids that are not indexed are ignored.

        Returns:
            Scores (B, k), descending, and ids (B, k), ties by smallest id; lists that come out
            short end in score -inf and id -1.

        Raises:
            ValueError: If ``users`` does not fit the item vectors or k is less than 1.
        """
        if users.ndim != 2 or users.shape[1] != self.item_vectors.shape[1]:
            raise ValueError(
                f"users must have shape (B, {self.item_vectors.shape[1]}), got {tuple(users.shape)}"
            )
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        users = users.to(self.item_vectors.device)
        seen = self._seen_rows(exclude, len(users))
        scores = users.new_full((len(users), k), -torch.inf)
        ids = torch.full((len(users), k), -1, dtype=torch.int64, device=users.device)
        for start in range(0, len(users), self.block):
            rows = slice(start, start + self.block)
            first, last = (
                int(torch.searchsorted(seen[0], bound)) for bound in (start, start + self.block)
            )
            here = (seen[0][first:last] - start, seen[1][first:last])
            found, positions = self._search(users[rows], k, here)
            width = found.shape[1]
            scores[rows, :width] = found
            listed = self.item_ids[positions.clamp_min(0)]
            ids[rows, :width] = torch.where(found > -torch.inf, listed, -1)
        self.queries += len(users)
        return scores, ids

    def scored_fraction(self) -> float:
        """Returns inner products per query over the number of items, for all searches so far."""
        return self.scored / max(1, self.queries) / len(self.item_vectors)

    def _search(
        self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Returns scores and item rows, each (B, at most k), ordered; unfilled places at -inf."""
        raise NotImplementedError

    def _seen_rows(self, exclude, n_users: int) -> tuple[Tensor, Tensor]:
        """Returns (user row, item row) of the excluded pairs, sorted by user row."""
        device = self.item_ids.device
        if exclude is None:
            empty = torch.empty(0, dtype=torch.int64, device=device)
            return empty, empty
        rows, ids = (part.to(device) for part in exclude)
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= n_users):
            raise ValueError(f"exclude names user rows outside 0..{n_users - 1}")
        items = torch.searchsorted(self.item_ids, ids).clamp_max(len(self.item_ids) - 1)
        known = self.item_ids[items] == ids
        rows, items = rows[known], items[known]
        order = torch.argsort(rows, stable=True)
        return rows[order], items[order]


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row, descending, ties by smallest column.

    ``torch.topk`` leaves the order of ties open. Its answer is only re-sorted, and a row in which
    the k-th and the next score are equal is sorted whole.

    Args:
        scores: Shape (B, N).
        k: List length; lists of rows shorter than k are N long.

    Returns:
        Values and columns, each (B, min(k, N)).
    """
    n = scores.shape[1]
    k = min(k, n)
    values, columns = scores.topk(min(k + 1, n))
    undecided = values[:, k - 1] == values[:, k] if k < n else values.new_zeros(len(values)).bool()
    values, columns = values[:, :k], columns[:, :k]
    by_column = columns.argsort(dim=1)
    values, columns = values.gather(1, by_column), columns.gather(1, by_column)
    by_value = values.argsort(dim=1, descending=True, stable=True)
    values, columns = values.gather(1, by_value), columns.gather(1, by_value)
    # Ties at minus infinity are unfilled places: their order does not matter.
    undecided &= values[:, -1] > -torch.inf
    if undecided.any():
        whole = scores[undecided].sort(dim=1, descending=True, stable=True)
        values[undecided], columns[undecided] = whole.values[:, :k], whole.indices[:, :k]
    return values, columns
