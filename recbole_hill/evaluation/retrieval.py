"""What approximate search costs and loses against exact search."""

import time

from torch import Tensor

from recbole_hill.retrieval.base import Retriever


def index_recall(exact: Tensor, found: Tensor) -> float:
    """Returns the share of the exact lists' items that the other lists hold.

    Args:
        exact: Ids, shape (B, k), -1 for no item.
        found: Ids, shape (B, k), -1 for no item.
    """
    real = exact >= 0
    hits = (exact.unsqueeze(2) == found.unsqueeze(1)).any(2) & real
    return float(hits.sum() / real.sum().clamp_min(1))


def compare_retrievers(
    exact: Retriever, approximate: Retriever, users: Tensor, k: int, *, block: int = 1024
) -> dict:
    """Searches for the same users twice and reports what the second search saves and loses.

    Args:
        exact: The reference.
        approximate: The retriever to judge.
        users: User vectors, shape (B, D).
        k: List length.
        block: Users per comparison.

    Returns:
        ``k``, ``index_recall``, ``scored_fraction`` (inner products with nodes and items over the
        number of items), and both searches' seconds.
    """
    recall, seconds = 0.0, [0.0, 0.0]
    for batch in users.split(block):
        lists = []
        for which, retriever in enumerate((exact, approximate)):
            started = time.perf_counter()
            lists.append(retriever.search(batch, k)[1])
            seconds[which] += time.perf_counter() - started
        recall += index_recall(*lists) * len(batch)
    return {
        "k": k,
        "index_recall": recall / len(users),
        "scored_fraction": approximate.scored_fraction(),
        "exact_seconds": round(seconds[0], 3),
        "beam_seconds": round(seconds[1], 3),
    }
