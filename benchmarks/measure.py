"""Recall, cost and speed of a searcher at one width, and the least width that reaches a recall."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from searchers import Searcher

from recbole_hill.evaluation.retrieval import index_recall

#: Least number of users searched at once when rates are measured. Below 128,000 / D users
#: (distance_compute_blas_threshold) FAISS 1.15.1 scans query by query, at a sixth of the rate of
#: Flat's matrix products: fewer users would flatter every other searcher.
BATCH = 4096


@dataclass(frozen=True)
class Point:
    """One searcher at one width.

    Attributes:
        searcher: Name of the searcher.
        width: Width, in the searcher's unit.
        recall: Share of the exact lists' items that were found.
        users: Number of users over whom the recall is taken.
        scored: Inner products (items and nodes, or codes) per user.
        rate: Users per second, searched in batches; the median of the repeats.
        rates: The slowest and the fastest repeat.
        repeats: Number of repeats.
        median: Median milliseconds of a search for one user.
        p99: 99th percentile of the same milliseconds.
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
    """The users to search for.

    Attributes:
        vectors: Shape (U, D), float32.
        truth: Exact lists, (U, k).
        seen: Pair (rows, items) that must not be returned, each (E,), sorted by rows; or None.
    """

    vectors: np.ndarray
    truth: np.ndarray
    seen: tuple[torch.Tensor, torch.Tensor] | None = None

    def part(self, start: int, stop: int) -> tuple[np.ndarray, tuple | None]:
        """Returns the vectors and the seen pairs of users start to stop."""
        return self.vectors[start:stop], seen_part(self.seen, start, stop)


def seen_part(seen, start: int, stop: int):
    """Returns the seen pairs of users start to stop, with rows counted from start."""
    if seen is None:
        return None
    first, last = torch.searchsorted(seen[0], torch.tensor([start, stop])).tolist()
    return seen[0][first:last] - start, seen[1][first:last]


def recall(truth: np.ndarray, found: np.ndarray) -> float:
    """Returns the share of the exact lists' items (B, k) that the other lists contain."""
    return index_recall(torch.from_numpy(truth), torch.from_numpy(found))


class Meter:
    """Measures searchers on the same users.

    Args:
        queries: The users.
        k: List length.
        seconds: Approximate time that all repeats at one width may take together.
        repeats: Number of repeats.
        singles: Largest number of searches for one user; they also stop after ``seconds``.
    """

    def __init__(
        self, queries: Queries, k: int, seconds: float = 10.0, repeats: int = 5, singles: int = 300
    ):
        self.queries, self.k = queries, k
        self.seconds, self.repeats, self.singles = seconds, repeats, singles

    def look(self, searcher: Searcher, width: int) -> Point:
        """Measures recall and cost over all users, or as many as fit the time, at least 500."""
        searcher.at(width)
        n_users = self._fitting(searcher, self.seconds, at_least=500)
        lists, scored = searcher.find(*self._arguments(0, n_users))
        share = recall(self.queries.truth[:n_users], lists)
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
        """Measures all widths, from the narrowest on, until nearly everything is found.

        One of the points is at the least width whose recall reaches the target.

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
        """Measures only at the least width whose recall reaches the target, if there is one."""
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
        """Yields the widths to measure next, given the points measured so far.

        The first are the searcher's own widths, up to a recall. Then the step in which the target
        is reached is halved, until the least width that reaches the target is known.
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
        """Returns how many users can be searched for in a time, estimated from a few users."""
        few = min(64, len(self.queries.vectors))
        rate = few / _seconds(searcher, self._arguments(0, few))
        return min(len(self.queries.vectors), max(at_least, int(rate * seconds)))

    def _arguments(self, start: int, stop: int) -> tuple:
        vectors, seen = self.queries.part(start, stop)
        return vectors, self.k, seen


def best(points: list[Point], target: float) -> Point | None:
    """Returns the point of the least width that reaches the recall, or None."""
    enough = [point for point in points if point.recall >= target]
    return min(enough, key=lambda point: point.width, default=None)


def _seconds(searcher: Searcher, arguments: tuple) -> float:
    started = time.perf_counter()
    searcher.find(*arguments)
    return time.perf_counter() - started
