"""The contract of every retriever: (scores, ids) of the best unseen items, in a fixed order."""

import torch
from torch import Tensor

from recbole_hill.checks import require_finite
from recbole_hill.data.ragged import ranges

#: Largest number of float32 entries in an array that is computed for a block of users (64 MiB).
BLOCK_ENTRIES = 1 << 24


class Retriever:
    """Finds the items with the largest inner products.

    A subclass implements ``_search``. This class checks the input, maps ids, masks seen items, and
    orders and pads the lists. So exact and approximate search differ only in the items that they
    score.

    A search that scores few items may find fewer than k that its user has not seen. This user is
    searched for again, by a wider search (``_wider``). So every search returns as many items as
    exact search does.

    Args:
        item_vectors: Shape (I, D).
        item_ids: Id of each row, ascending, shape (I,); the row number if None.

    Raises:
        ValueError: If the vectors are not a matrix or not finite, or if there is not one id per
            row, in ascending order.
    """

    def __init__(self, item_vectors: Tensor, item_ids: Tensor | None = None):
        if item_vectors.ndim != 2 or not len(item_vectors):
            raise ValueError(
                f"item_vectors must have shape (I, D), got {tuple(item_vectors.shape)}"
            )
        require_finite("item_vectors", item_vectors)
        self.item_vectors = item_vectors.detach().float()
        n_items, device = len(item_vectors), item_vectors.device
        if item_ids is None:
            item_ids = torch.arange(n_items)
        self.item_ids = item_ids.to(device)
        if self.item_ids.shape != (n_items,) or bool((torch.diff(self.item_ids) <= 0).any()):
            raise ValueError(f"item_ids must be {n_items} ascending ids, one per item vector")
        #: Number of users searched at once; it bounds the memory.
        self.block = max(1, BLOCK_ENTRIES // n_items)
        #: Number of inner products (with nodes and items) computed so far, and of queries answered.
        self.scored, self.queries = 0, 0
        #: Number of inner products with nodes, among all.
        self.scored_nodes = 0

    @torch.no_grad()
    def search(
        self, users: Tensor, k: int, exclude: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns each user's k best items that are not excluded.

        Args:
            users: User vectors, shape (B, D).
            k: List length, at least 1.
            exclude: Pair (rows, ids), each (E,): item ``ids[e]`` is not returned for the user in
                row ``rows[e]``. Ids that are not in the index are ignored.

        Returns:
            Scores (B, k), float32, descending, and ids (B, k), int64; ties are ordered by smallest
            id. A user with fewer than k items that are not excluded gets all of them; the rest of
            his list is padded with score -inf and id -1.

        Raises:
            ValueError: If ``users`` does not fit the item vectors or is not finite, if k is less
                than 1, or if ``exclude`` names a row that does not exist.
        """
        if users.ndim != 2 or users.shape[1] != self.item_vectors.shape[1]:
            raise ValueError(
                f"users must have shape (B, {self.item_vectors.shape[1]}), got {tuple(users.shape)}"
            )
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        users = users.to(self.item_vectors)
        require_finite("users", users)
        seen_users, seen_items = self._seen(exclude, len(users))
        scores = users.new_full((len(users), k), -torch.inf)
        ids = torch.full((len(users), k), -1, dtype=torch.int64, device=users.device)
        starts = range(0, len(users), self.block)
        bounds = torch.tensor([*starts, len(users)], device=users.device)
        cuts = torch.searchsorted(seen_users, bounds).tolist()
        for start, first, last in zip(starts, cuts, cuts[1:], strict=False):
            rows = slice(start, start + self.block)
            seen = (seen_users[first:last] - start, seen_items[first:last])
            best, positions = self._search(users[rows], k, seen)
            width = best.shape[1]
            scores[rows, :width] = best
            listed = self.item_ids[positions.clamp_min(0)]
            ids[rows, :width] = torch.where(best > -torch.inf, listed, -1)
        short = short_lists(ids, len(self.item_vectors), seen_users)
        if len(short):
            excluded = of_rows((seen_users, self.item_ids[seen_items]), short)
            before = self._wider.scored, self._wider.scored_nodes
            scores[short], ids[short] = self._wider.search(users[short], k, excluded)
            self.scored += self._wider.scored - before[0]
            self.scored_nodes += self._wider.scored_nodes - before[1]
        self.queries += len(users)
        return scores, ids

    def scored_fraction(self) -> float:
        """Returns the number of inner products per query divided by I, over all searches so far."""
        return self.scored / max(1, self.queries) / len(self.item_vectors)

    def _search(self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns scores and item rows, each (B, at most k), ordered; unfilled places have -inf."""
        raise NotImplementedError

    @property
    def _wider(self) -> "Retriever":
        """The search for users whose lists this search leaves too short; exact search has none."""
        raise NotImplementedError

    def _search_all(
        self, users: Tensor, k: int, seen: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Returns the result of ``_search`` by scoring every item."""
        scores = users @ self.item_vectors.T  # (B, I)
        scores[seen] = -torch.inf
        self.scored += scores.numel()
        return top_k(scores, k)

    def _mask(self, scores: Tensor, items: Tensor, seen: tuple[Tensor, Tensor]) -> Tensor:
        """Sets the seen items' scores to minus infinity, in place.

        Args:
            scores: Shape (B, N), -inf at unfilled places.
            items: Item row of each score, shape (B, N), -1 at unfilled places.
            seen: Pairs (user row, item row), each (E,).
        """
        return leave_out(scores, items, seen, len(self.item_vectors))

    def _seen(self, exclude: tuple[Tensor, Tensor] | None, n_users: int) -> tuple[Tensor, Tensor]:
        """Returns (user row, item row) of the excluded pairs, each pair once, sorted."""
        device = self.item_ids.device
        if exclude is None:
            empty = torch.empty(0, dtype=torch.int64, device=device)
            return empty, empty
        rows, ids = (part.to(device) for part in exclude)
        if rows.shape != ids.shape or rows.ndim != 1:
            raise ValueError(
                f"exclude must be two lists of one length, got shapes {tuple(rows.shape)} and "
                f"{tuple(ids.shape)}"
            )
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= n_users):
            raise ValueError(f"exclude names user rows outside 0..{n_users - 1}")
        items = torch.searchsorted(self.item_ids, ids).clamp_max(len(self.item_ids) - 1)
        known = self.item_ids[items] == ids
        return distinct_pairs(rows[known], items[known], len(self.item_ids))


def distinct_pairs(rows: Tensor, ids: Tensor, n_ids: int) -> tuple[Tensor, Tensor]:
    """Returns pairs (row, id), each (E,), without repetition, ordered by row, then by id.

    Args:
        rows, ids: The pairs, each (E,).
        n_ids: Number of ids; every id is less.
    """
    keys = (rows * n_ids + ids).unique()
    return keys // n_ids, keys % n_ids


def of_rows(pairs: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pairs (row, id) of some rows, with the rows numbered as in ``rows``.

    Args:
        pairs: Rows and ids, each (E,), ordered by row.
        rows: Shape (B,).
    """
    starts = torch.searchsorted(pairs[0], rows)
    counts = torch.searchsorted(pairs[0], rows, right=True) - starts
    return torch.repeat_interleave(counts), pairs[1][ranges(starts, counts)]


def short_lists(ids: Tensor, n_items: int, excluded: Tensor) -> Tensor:
    """Returns the rows of the lists that have fewer items than their users may be given, (N,).

    Args:
        ids: Lists of ids, shape (B, k), -1 for no item.
        n_items: Number of items.
        excluded: The row of each item that is not given to the row's user, each item once, (E,).
    """
    left = n_items - torch.bincount(excluded, minlength=len(ids))
    return ((ids >= 0).sum(1) < left.clamp_max(ids.shape[1])).nonzero().flatten()


def leave_out(scores: Tensor, ids: Tensor, pairs: tuple[Tensor, Tensor], n_ids: int) -> Tensor:
    """Sets the scores of some <user, id> pairs to minus infinity, in place.

    Args:
        scores: Shape (B, N), -inf at unfilled places.
        ids: Id of each score, less than ``n_ids``, shape (B, N); any number from -1 on at unfilled
            places.
        pairs: User rows and ids, each (E,).
        n_ids: Number of ids.

    Returns:
        ``scores``.
    """
    users, gone = pairs
    if not len(users):
        return scores
    own = torch.arange(len(scores), device=scores.device).unsqueeze(1) * n_ids
    # An unfilled place (-1) may look like the last id of the user before; its score is -inf anyway.
    return scores.masked_fill_(torch.isin(own + ids, users * n_ids + gone), -torch.inf)


def top_k(scores: Tensor, k: int, ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row, descending, ties by smallest column or id.

    ``torch.topk`` does not define the order of ties. Its result is sorted again. A row in which the
    k-th and the next score are equal is sorted as a whole.

    Args:
        scores: Shape (B, N), no NaN.
        k: List length; if k exceeds N, lists have length N.
        ids: Id of each entry, shape (B, N); the column if None.

    Returns:
        Values and ids (or columns), each (B, min(k, N)). Entries of -inf are unfilled places; their
        ids are not defined.
    """
    n = scores.shape[1]
    k = min(k, n)
    values, places = scores.topk(min(k + 1, n))
    undecided = values[:, k - 1] == values[:, k] if k < n else values.new_zeros(len(values)).bool()
    undecided &= values[:, k - 1] > -torch.inf
    if ids is not None:
        places = ids.gather(1, places)
    values, places = _in_order(values[:, :k], places[:, :k])
    if undecided.any():
        scores = scores[undecided]
        if ids is None:
            whole = scores.sort(dim=1, descending=True, stable=True)
        else:
            whole = _in_order(scores, ids[undecided])
        values[undecided], places[undecided] = whole[0][:, :k], whole[1][:, :k]
    return values, places


def _in_order(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Sorts each row by descending value, then by ascending id."""
    ids, order = ids.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)
