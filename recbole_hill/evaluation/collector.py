"""RecBole's collector of top lists, without arrays of users by items in addition to the scores."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from recbole.evaluator.collector import Collector
from torch import Tensor

#: Columns of one block. The k best entries of a row lie in the k blocks with the largest maxima.
WIDTH = 64


class TopListCollector(Collector):
    """Collects the best items of every user, and whether they are test items.

    For each batch RecBole makes and sums a matrix of users by items for the test items. This class
    looks the test items up in the lists instead. The collected values are equal to the bit, ties
    among scores included, with one exception: a place of a list with score minus infinity (a search
    found too few items) is no hit. Metrics that need more than lists (AUC, mean ranks) are
    collected as RecBole does.
    """

    #: The lists of the batches so far, while they are kept.
    _kept: list[np.ndarray] | None = None

    @contextmanager
    def keep_lists(self) -> Iterator[list[np.ndarray]]:
        """Keeps the lists while the block evaluates.

        Yields:
            Items of each batch's lists, best first, shape (B, k); 0 where a list has ended.
        """
        self._kept = []
        try:
            yield self._kept
        finally:
            self._kept = None

    def note_lists(self, items: Tensor) -> None:
        """Takes one batch's lists, shape (B, k), where they are kept; 0 or less is no item."""
        if self._kept is not None:
            self._kept.append(items.clamp_min(0).cpu().numpy())

    def eval_batch_collect(
        self, scores_tensor: Tensor, interaction, positive_u: Tensor, positive_i: Tensor
    ) -> None:
        """RecBole's hook: takes one batch's scores, shape (B, I), and its test pairs, each (E,)."""
        if not self.needs_lists_alone:
            if self._kept is not None and scores_tensor.ndim == 2:  # labelled rows are no lists
                best, found = self._best_of(scores_tensor)
                self.note_lists(torch.where(found, best, 0))
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
            return
        best, found = self._best_of(scores_tensor)
        self.note_lists(torch.where(found, best, 0))
        self.collect_lists(best, found, positive_u, positive_i, scores_tensor.shape[1])

    def _best_of(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the best items of scores (B, I), and whether each was found, both (B, k)."""
        best = best_columns(scores, max(self.topk))
        return best, scores.gather(1, best) > -torch.inf

    @property
    def needs_lists_alone(self) -> bool:
        """Whether the metrics need the best items alone, and no scores."""
        return not any(map(self.register.need, ("rec.meanrank", "rec.score", "data.label")))

    def collect_lists(
        self, best: Tensor, found: Tensor, positive_u: Tensor, positive_i: Tensor, n_items: int
    ) -> None:
        """Takes one batch's lists.

        Args:
            best: Items of the users' lists, best first, shape (B, k).
            found: Whether a place of a list has an item, shape (B, k).
            positive_u: Row in ``best`` of each test pair's user, shape (E,).
            positive_i: Item of each test pair, shape (E,).
            n_items: Number of items with RecBole's padding item.
        """
        n_users = len(best)
        if self.register.need("rec.items"):
            self.data_struct.update_tensor("rec.items", best)
        if self.register.need("rec.topk"):
            pairs = torch.unique(positive_u * n_items + positive_i).to(best.device)
            own = torch.arange(n_users, device=best.device).unsqueeze(1) * n_items
            hits = (torch.isin(own + best, pairs) & found).long()
            lengths = torch.bincount(pairs // n_items, minlength=n_users).unsqueeze(1)
            self.data_struct.update_tensor("rec.topk", torch.cat((hits, lengths), dim=1))


def best_columns(scores: Tensor, k: int) -> Tensor:
    """Returns the columns of each row's k largest entries, descending: ``scores.topk(k)[1]``.

    On a CPU ``torch.topk`` copies and compares whole rows. This function first finds the maximum of
    each block of columns, at the memory's speed. The k best entries lie in the k blocks with the
    largest maxima. Rows with equal entries among their best are left to ``torch.topk``, so that the
    choice is the same.

    Args:
        scores: Shape (B, N).
        k: At most N.

    Returns:
        Shape (B, k).
    """
    n = scores.shape[1]
    n_blocks = n // WIDTH
    if scores.device.type != "cpu" or n_blocks < 4 * (k + 1):
        return scores.topk(k)[1]
    blocks = scores[:, : n_blocks * WIDTH].unflatten(1, (n_blocks, WIDTH))
    chosen = blocks.amax(2).topk(k + 1, sorted=False)[1]  # one more, to detect a tie at the end
    columns = chosen.unsqueeze(2) * WIDTH + torch.arange(WIDTH)
    rest = torch.arange(n_blocks * WIDTH, n).expand(len(scores), -1)
    columns = torch.cat((columns.flatten(1), rest), dim=1)
    values, places = scores.gather(1, columns).topk(k + 1)
    best = columns.gather(1, places[:, :k])
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    if tied.any():
        best[tied] = scores[tied].topk(k)[1]
    return best
