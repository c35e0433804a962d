"""Cost of a request to a model that retrieves: counted operations and measured latency."""

import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from recbole_hill.labelled.model import LabelledModel, grid_logits
from recbole_hill.labelled.towers.block import MoNNBlock

#: Number of <user, item> pairs over which a network's operations are counted.
_PAIRS = 64


def serving_cost(model: LabelledModel, users: Tensor, k: int, exclude, repeats: int = 200) -> dict:
    """Counts the operations of requests and times them, one user at a time.

    Only matrix products are counted, as PyTorch counts them: a multiplication and its addition are
    two operations. An inner product of width D costs 2 D. The embeddings kept for serving are
    computed beforehand; their computation is not counted.

    Args:
        model: Model in evaluation mode.
        users: User ids, shape (N,).
        k: List length.
        exclude: Function from a user id to the ids of the items to leave out, shape (E,).
        repeats: Largest number of timed requests; there is at most one per user.

    Returns:
        Numbers by name. Layers are listed coarsest first.
        - ``pair_flops``: M, operations per <user, node or item> pair, for each layer.
        - ``pairs``: pairs scored per request, for each layer.
        - ``user_flops``: operations per request in the user towers and in the part of the
          over-archs that sees the user alone.
        - ``flops``: all operations per request: ``user_flops`` and the operations of all pairs.
        - ``flops_formula``: the paper's theoretical cost, M * I_1 + M * V, in which every node is
          kept.
        - ``flops_measured``: operations counted while a request runs, padding included.
        - ``requests``: number of timed requests.
        - ``latency_ms``: median time of a request.
        - ``latency_p99_ms``: 99th percentile over ``requests`` requests; with 100 requests or fewer
          this is close to the maximum.
        - ``tables_mib``: size of the embeddings of nodes and items that serving keeps.
        - ``weights_mib``: size of the weights.
    """
    # Kept embeddings are computed before, and with another searcher, so that none of this counts.
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
    networks = set(model.networks())  # a user tower runs once, for however many layers
    towers = sum(_count(lambda block=block: block.user(users[:1])) for block in networks)
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
    """Returns M, the operations per <user, item> pair, and the further operations per user.

    M covers the interaction tower and the over-arch. The second number covers the operations that
    these modules run once per user, for any number of items.
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
