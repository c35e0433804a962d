"""Recall, cost and speed of a searcher at one width; the least width that is enough."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from searchers import Searcher

from recbole_hill.evaluation.retrieval import index_recall

#: Users searched for at once when rates are taken, at least. FAISS 1.15.1 scans query by query
#: below 128,000 / D users (distance_compute_blas_threshold), at a sixth of the rate of its Flat's
#: matrix products: fewer users would flatter everyone else.
BATCH = 4096


@dataclass(frozen=True)
class Point:
    """One searcher at one width.

    Attributes:
        searcher: Its name.
        width: Its width, in the searcher's own unit.
        recall: Share of the exact lists' items that were found.
        users: Users that the recall is over.
        scored: Inner products (items and nodes, or codes) per user.
        rate: Users per second, searched in batches: the median of the repeats.
        rates: The slowest and the fastest repeat.
        repeats: How many.
        median: Median milliseconds of a search for one user.
        p99: Their 99th percentile.
    """

    searcher: str
    width: int
    recall: float
    users: int
    scored: float
    rate: float = 0.0
    rates: tuple[float, float] = (0.0, 0.0)
    repeats: int = 0
    median: float = 0.0
    p99: float = 0.0


@dataclass(frozen=True)
class Queries:
    """Users to search for.

    Attributes:
        vectors: Shape (U, D), float32.
        truth: Exact lists, (U, k).
        seen: Pair (rows, items) not to be returned, each (E,), sorted by rows; None for none.
    """

    vectors: np.ndarray
    truth: np.ndarray
    seen: tuple[torch.Tensor, torch.Tensor] | None = None

    def part(self, start: int, stop: int) -> tuple[np.ndarray, tuple | None]:
        """Returns vectors and seen pairs of some users."""
        return self.vectors[start:stop], seen_part(self.seen, start, stop)


def seen_part(seen, start: int, stop: int):
    """Returns the seen pairs of users start to stop, counted from start."""
    if seen is None:
        return None
    first, last = torch.searchsorted(seen[0], torch.tensor([start, stop])).tolist()
    return seen[0][first:last] - start, seen[1][first:last]


def recall(truth: np.ndarray, found: np.ndarray) -> float:
    """Returns the share of the exact lists' items (B, k) that the other lists hold."""
    return index_recall(torch.from_numpy(truth), torch.from_numpy(found))


class Meter:
    """Measures searchers on the same users.

    Args:
        queries: The users.
        k: List length.
        seconds: About how long the repeats at one width may take together.
        repeats: How many there are.
        singles: Searches for one user, at most; they stop after ``seconds`` too.
    """

    def __init__(
        self, queries: Queries, k: int, seconds: float = 10.0, repeats: int = 5, singles: int = 300
    ):
        self.queries, self.k = queries, k
        self.seconds, self.repeats, self.singles = seconds, repeats, singles

    def look(self, searcher: Searcher, width: int) -> Point:
        """Measures recall and cost: over all users, or those that fit the time, at least 500."""
        searcher.at(width)
        n_users = self._fitting(searcher, self.seconds, at_least=500)
        found, scored = searcher.find(*self._arguments(0, n_users))
        share = recall(self.queries.truth[:n_users], found)
        return Point(searcher.name, width, share, n_users, scored / n_users)

    def time(self, searcher: Searcher, point: Point) -> Point:
        """Adds the times to a point."""
        searcher.at(point.width)
        n_users = self._fitting(searcher, self.seconds / self.repeats, at_least=BATCH)
        arguments = self._arguments(0, n_users)
        rates = [n_users / _seconds(searcher, arguments) for _ in range(self.repeats)]
        single, stop = [], time.perf_counter() + self.seconds
        for user in range(min(self.singles, len(self.queries.vectors))):
            single.append(1000 * _seconds(searcher, self._arguments(user, user + 1)))
            if time.perf_counter() > stop:
                break
        return Point(
            **{
                **vars(point),
                "rate": statistics.median(rates),
                "rates": (min(rates), max(rates)),
                "repeats": len(rates),
                "median": statistics.median(single),
                "p99": float(np.percentile(single, 99)),
            }
        )

    def sweep(self, searcher: Searcher, target: float) -> list[Point]:
        """Measures from the narrowest width on, until nearly everything is found.

        The least width at which the recall reaches the target is one of the points.

        Args:
            searcher: The searcher.
            target: The recall to reach.

        Returns:
            Points by width.
        """
        points = {}
        for width in self._widths(searcher, points, target, until=max(target, 0.995)):
            points[width] = self.time(searcher, self.look(searcher, width))
        return [points[width] for width in sorted(points)]

    def least(self, searcher: Searcher, target: float) -> Point | None:
        """Measures only the least width at which the recall reaches the target, if any does."""
        points = {}
        for width in self._widths(searcher, points, target, until=target):
            points[width] = self.look(searcher, width)
        enough = [point for point in points.values() if point.recall >= target]
        if not enough:
            return None
        return self.time(searcher, min(enough, key=lambda point: point.width))

    def _widths(
        self, searcher: Searcher, points: dict[int, Point], target: float, until: float
    ) -> Iterator[int]:
        """Yields the widths to measure next, judging by the points that have come of the others.

        First the searcher's own, up to a recall; then halves of the step on which the target is
        reached, until the least width that reaches it is known.
        """
        for width in searcher.widths:
            yield width
            if points[width].recall >= until:
                break
        above = [width for width, point in points.items() if point.recall >= target]
        if not above or min(above) == searcher.widths[0]:
            return
        enough = min(above)
        below = max(width for width in points if width < enough)
        while enough - below > 1:
            middle = (below + enough) // 2
            yield middle
            if points[middle].recall >= target:
                enough = middle
            else:
                below = middle

    def _fitting(self, searcher: Searcher, seconds: float, at_least: int) -> int:
        """Returns how many users can be searched for in that time, judged by a few."""
        few = min(64, len(self.queries.vectors))
        rate = few / _seconds(searcher, self._arguments(0, few))
        return min(len(self.queries.vectors), max(at_least, int(rate * seconds)))

    def _arguments(self, start: int, stop: int) -> tuple:
        vectors, seen = self.queries.part(start, stop)
        return vectors, self.k, seen


def best(points: list[Point], target: float) -> Point | None:
    """Returns the point of the least width that reaches the recall, if any."""
    enough = [point for point in points if point.recall >= target]
    return min(enough, key=lambda point: point.width, default=None)


def _seconds(searcher: Searcher, arguments: tuple) -> float:
    started = time.perf_counter()
    searcher.find(*arguments)
    return time.perf_counter() - started
