"""Controls of test-time training.

A control is an arm (a compared variant of a run) that keeps everything except the idea under test.
A pair is a <user, node> pair: a user and an index node that the user is interested in.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recbole_hill.adapt.pairs import Pairs


def random_nodes(
    pairs: Pairs,
    parents: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    min_children: int = 1,
) -> Pairs:
    """Control: the same users at the same depths, with nodes drawn uniformly.

    It shows the gain of the extra training steps without the index's knowledge of the user. The
    interest rates are kept, so that a loss weighted by rates has the same total weight.

    Args:
        pairs: The real pairs.
        parents: Parent arrays of the index, from the items up.
        rng: Generator of the draws.
        min_children: Smallest number of children of a drawn node, as in
            :func:`~recbole_hill.adapt.pairs.extract_pairs`.

    Returns:
        The pairs of the control.

    Raises:
        ValueError: If there is a pair at a depth that the index does not have.
    """
    if pairs.depths.max(initial=0) > len(parents):
        raise ValueError(f"the index has {len(parents)} depths, none at {pairs.depths.max()}")
    nodes = pairs.nodes.copy()
    for depth in np.unique(pairs.depths):
        here = pairs.depths == depth
        eligible = np.flatnonzero(np.bincount(parents[depth - 1]) >= min_children)
        nodes[here] = rng.choice(eligible, size=int(here.sum()))
    return replace(pairs, nodes=nodes)


def random_users(pairs: Pairs, rng: np.random.Generator) -> Pairs:
    """Control: the same nodes, with the users permuted within each depth.

    Every user and every node keeps its number of pairs; only the assignment of users to nodes is
    lost.

    Args:
        pairs: The real pairs.
        rng: Generator of the permutation.

    Returns:
        The pairs of the control.
    """
    users = pairs.users.copy()
    for depth in np.unique(pairs.depths):
        here = np.flatnonzero(pairs.depths == depth)
        users[here] = rng.permutation(users[here])
    return replace(pairs, users=users)


@torch.no_grad()
def move_toward_nodes(users: Tensor, items: Tensor, pairs: Pairs, nodes, weight: float) -> Tensor:
    """Control ``average``: moves each user toward the mean of the user's nodes, without training.

    The mean of any nodes points to items that all users like, and that alone may improve the
    metrics. The control ``average_random`` therefore moves users toward random nodes in the same
    way.

    Args:
        users: User vectors with the padding row, shape (U + 1, D).
        items: Item vectors with the padding row, shape (I + 1, D).
        pairs: The <user, node> pairs.
        nodes: The index's :class:`~recbole_hill.index.node_vectors.NodeVectors`.
        weight: Length of the move: 0 leaves the user, 1 puts the user at the mean.

    Returns:
        New user vectors, shape (U + 1, D); users without pairs do not move.
    """
    total, count = torch.zeros_like(users), users.new_zeros(len(users), 1)
    for depth in sorted(set(pairs.depths.tolist())):
        here = pairs.at_depth(depth)
        user, node = (torch.from_numpy(a).to(users.device) for a in (here.users, here.nodes))
        total.index_add_(0, user, nodes.means(items, depth)[node])
        count.index_add_(0, user, torch.ones(len(user), 1, device=users.device))
    mean = total / count.clamp_min(1)
    return torch.where(count > 0, torch.lerp(users, mean, weight), users)
