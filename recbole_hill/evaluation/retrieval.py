"""What approximate search costs and loses, compared with exact search."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_hill.retrieval.base import Retriever


def index_recall(exact: Tensor, found: Tensor) -> float:
    """Returns the share of the exact lists' items that the other lists contain.

    Args:
        exact: Ids, shape (B, k), -1 for no item.
        found: Ids, shape (B, k), -1 for no item.

    Returns:
        Hits in all B lists divided by the number of items in the exact lists; 1 if the exact lists
        are all empty.
    """
    n_ids = int(max(exact.max(), found.max())) + 1
    lists = torch.arange(len(exact), device=exact.device).unsqueeze(1) * n_ids
    wanted = (lists + exact)[exact >= 0]
    hits = torch.isin(wanted, (lists + found)[found >= 0])
    return float(hits.double().mean()) if len(hits) else 1.0


def compare_retrievers(
    exact: Retriever,
    approximate: Retriever,
    users: Tensor,
    topk: Sequence[int],
    *,
    exclude: tuple[Tensor, Tensor] | None = None,
) -> dict:
    """Searches for the same users twice, and reports what the second search saves and loses.

    Args:
        exact: The reference.
        approximate: The retriever to compare with it.
        users: User vectors, shape (B, D), B at least 1.
        topk: List lengths; the searches are for the longest.
        exclude: Pairs (rows, ids) that must not be returned, as in :meth:`Retriever.search`.

    Returns:
        ``index_recall@k`` for each k, ``scored_fraction`` (inner products with nodes and items, per
        user, divided by the number of items), ``items_fraction`` (the same without the nodes), and
        the seconds of both searches.
    """
    lists, seconds = [], []
    before = approximate.scored, approximate.scored_nodes
    for retriever in (exact, approximate):
        started = time.perf_counter()
        lists.append(retriever.search(users, max(topk), exclude)[1].cpu())  # waits for the device
        seconds.append(round(time.perf_counter() - started, 3))
    everything = len(users) * len(approximate.item_vectors)
    scored, nodes = approximate.scored - before[0], approximate.scored_nodes - before[1]
    return {
        **{f"index_recall@{k}": index_recall(*(ids[:, :k] for ids in lists)) for k in topk},
        "scored_fraction": scored / everything,
        "items_fraction": (scored - nodes) / everything,
        "exact_seconds": seconds[0],
        "seconds": seconds[1],
    }
