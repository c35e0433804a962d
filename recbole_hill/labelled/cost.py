"""What a request costs a network that retrieves: operations counted, latency measured."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recbole_hill.labelled.model import LabelledModel, grid_logits
from recbole_hill.labelled.towers.block import MoNNBlock

#: Pairs over which a network's operations are counted.
_PAIRS = 64


def serving_cost(model: LabelledModel, users: Tensor, k: int, exclude, repeats: int = 200) -> dict:
    """Counts and times requests for one user at a time, by a model that has served before.

    Operations are those of matrix products, two per multiplication and addition, as PyTorch counts
    them; an inner product of width D is 2 D.

    Args:
        model: In evaluation mode.
        users: User ids, shape (N,).
        k: List length.
        exclude: Function that gives a user's items to leave out, as ids (E,).
        repeats: Requests that are timed, at most; never more than one per user.

    Returns:
        ``pair_flops`` (M, per layer, coarsest first), ``pairs`` (per request and layer),
        ``user_flops`` (user towers, and the over-archs' part of users alone), ``flops`` (their
        sum), ``flops_formula`` (the paper's theoretical cost, M * I_1 + M * V: as if every node
        were kept),
        ``flops_measured`` (of one request as run, padding included), ``latency_ms``,
        ``latency_p99_ms`` (of ``requests``, whose slowest it all but is if they are a hundred or
        fewer), ``tables_mib`` (what is kept of nodes and items) and ``weights_mib``.
    """
    # What serving keeps is made before; and by another searcher, so that nothing of it counts.
    kept = model.kept()
    model.searcher().search(users[:1], k)
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
    towers = sum(_count(lambda block=block: block.user(users[:1])) for block in model.networks())
    per_pair, beside = zip(*map(pair_flops, model.networks()), strict=True)
    per_user = towers + sum(beside)
    return {
        "pair_flops": list(per_pair),
        "pairs": pairs,
        "user_flops": per_user,
        "flops": per_user + _total(per_pair, pairs),
        "flops_formula": _total(per_pair, model.layer_sizes()),
        "flops_measured": float(np.mean(measured)),
        "requests": len(millis),
        "latency_ms": float(np.median(millis)),
        "latency_p99_ms": float(np.percentile(millis, 99)),
        "tables_mib": _mib(kept),
        "weights_mib": _mib(model.parameters()),
    }


@torch.no_grad()
def pair_flops(block: MoNNBlock) -> tuple[float, float]:
    """Returns M, the operations of interaction tower and over-arch for one <user, item> pair.

    And, second, those that they need once for a user however many his items are.
    """
    size = block.size
    if size.is_dot_product:
        return 2.0 * size.user.width, 0.0
    device = next(block.parameters()).device
    user = torch.zeros(1, size.user.embeddings, size.user.dim, device=device)
    one = torch.ones(1, 1, dtype=torch.int64)
    vector = torch.zeros(1, 1, size.item.embeddings, size.item.dim, device=device)

    def count(n: int) -> float:
        items, vectors = one.expand(1, n), vector.expand(1, n, -1, -1)
        return _count(lambda: grid_logits(block, one[0], user, items, vectors))

    single, several = count(1), count(_PAIRS)
    per_pair = (several - single) / (_PAIRS - 1)
    return per_pair, single - per_pair


def _total(per_pair: Sequence[float], pairs: Sequence[float]) -> float:
    return sum(m * n for m, n in zip(per_pair, pairs, strict=True))


def _mib(tensors: Iterable[Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def _count(call) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
