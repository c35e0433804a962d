"""Controls of test-time training: arms that keep everything but the idea under test."""

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

    It shows what the extra steps bring without the index's knowledge of the user. Rates stay, so
    that a loss weighted by them spends the same weight.

    Args:
        pairs: The real pairs.
        parents: Parent arrays of the index, from the items up.
        rng: Where the draws come from.
        min_children: As in :func:`extract_pairs`: smaller nodes are not drawn either.

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

    Every user and every node keeps its number of pairs; only who goes with what is lost.

    Args:
        pairs: The real pairs.
        rng: Where the permutation comes from.
    """
    users = pairs.users.copy()
    for depth in np.unique(pairs.depths):
        here = np.flatnonzero(pairs.depths == depth)
        users[here] = rng.permutation(users[here])
    return replace(pairs, users=users)


@torch.no_grad()
def move_toward_nodes(users: Tensor, items: Tensor, pairs: Pairs, nodes, weight: float) -> Tensor:
    """The ``average`` control: moves each user toward the mean of its nodes, without training.

    The mean of any nodes points to what all users like, and that alone may gain: ``average_random``
    is the same toward random nodes.

    Args:
        users: User vectors, shape (U, D).
        items: Item vectors with the padding row, shape (I + 1, D).
        pairs: The <user, node> pairs.
        nodes: The index's node vectors.
        weight: How far, 0 (not at all) to 1 (all the way).

    Returns:
        New user vectors, shape (U, D); users without pairs stay.
    """
    total, count = torch.zeros_like(users), users.new_zeros(len(users), 1)
    for depth in sorted(set(pairs.depths.tolist())):
        here = pairs.at_depth(depth)
        user, node = (torch.from_numpy(a).to(users.device) for a in (here.users, here.nodes))
        total.index_add_(0, user, nodes.means(items, depth)[node])
        count.index_add_(0, user, torch.ones(len(user), 1, device=users.device))
    mean = total / count.clamp_min(1)
    return torch.where(count > 0, torch.lerp(users, mean, weight), users)
