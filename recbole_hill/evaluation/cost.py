"""What a request costs a network that retrieves: operations counted, latency measured."""

import time

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recbole_hill.model.labelled import LabelledModel, grid_logits
from recbole_hill.model.monn.block import MoNNBlock

#: Pairs over which a network's operations are counted.
_PAIRS = 64


def serving_cost(model: LabelledModel, users: Tensor, k: int, exclude, repeats: int = 50) -> dict:
    """Counts and times requests for one user at a time.

    Operations are those of matrix products, two per multiplication and addition, as PyTorch counts
    them; an inner product of width D is 2 D.

    Args:
        model: In evaluation mode.
        users: User ids, shape (N,).
        k: List length.
        exclude: Function that gives a user's items to leave out, as ids (E,).
        repeats: Requests that are timed, at most.

    Returns:
        ``pair_flops`` (M, per layer, coarsest first), ``pairs`` (per request and layer),
        ``user_flops``, ``flops`` (their sum, the paper's M * I_1 + M * V with the user towers),
        ``flops_measured`` (of one request as run, padding included), ``latency_ms``,
        ``latency_p99_ms`` and ``tables_mib`` (what is kept of nodes and items).
    """
    searcher = model.searcher()
    millis, measured = [], []
    for user in users[:repeats]:
        seen = exclude(user)
        rows = torch.zeros_like(seen)
        started = time.perf_counter()
        searcher.search(user[None], k, (rows, seen))
        millis.append(1000 * (time.perf_counter() - started))
    pairs = [count / searcher.queries for count in searcher.pairs]
    for user in users[:3]:
        measured.append(_count(lambda user=user: searcher.search(user[None], k)))
    networks = model.networks()
    per_pair = [pair_flops(network) for network in networks]
    per_user = sum(_count(lambda block=block: block.user(users[:1])) for block in networks)
    return {
        "pair_flops": per_pair,
        "pairs": pairs,
        "user_flops": per_user,
        "flops": per_user + sum(m * n for m, n in zip(per_pair, pairs, strict=True)),
        "flops_measured": float(np.mean(measured)),
        "latency_ms": float(np.median(millis)),
        "latency_p99_ms": float(np.percentile(millis, 99)),
        "tables_mib": sum(table.numel() * table.element_size() for table in model.kept()) / 2**20,
    }


@torch.no_grad()
def pair_flops(block: MoNNBlock) -> float:
    """Returns M, the operations of interaction tower and over-arch for one <user, item> pair."""
    size = block.size
    if size.is_dot_product:
        return 2.0 * size.user.width
    items = torch.ones(1, _PAIRS, dtype=torch.int64)
    device = next(block.parameters()).device
    user = torch.zeros(1, size.user.embeddings, size.user.dim, device=device)
    vectors = torch.zeros(1, _PAIRS, size.item.embeddings, size.item.dim, device=device)
    users = torch.ones(1, dtype=torch.int64)
    return _count(lambda: grid_logits(block, users, user, items, vectors)) / _PAIRS


def _count(call) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
