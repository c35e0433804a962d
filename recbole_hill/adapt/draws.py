"""The <user, node> pairs of a training step: a share of all pairs, drawn at random."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from recbole_hill.adapt.pairs import Pairs


class PairDraws:
    """Draws a share of the pairs at every step; an epoch visits each pair once on average.

    Args:
        pairs: The <user, node> pairs (RecBole's user ids, and node ids per depth).
        steps: Number of training steps in an epoch.
        by_rate: Whether the weight of a pair is proportional to its interest rate (the share of the
            node that the user is interested in), with mean 1 at each depth.
    """

    def __init__(self, pairs: Pairs, steps: int, *, by_rate: bool = False):
        self.by_depth = {}
        for depth in sorted(set(pairs.depths.tolist())):
            here = pairs.at_depth(depth)
            users, nodes = torch.from_numpy(here.users), torch.from_numpy(here.nodes)
            weights = torch.ones(len(here))
            if by_rate:
                weights = torch.from_numpy(here.rates / here.rates.mean()).float()
            self.by_depth[depth] = (users, nodes, weights, math.ceil(len(here) / steps))

    @property
    def pairs_a_step(self) -> int:
        """Number of pairs that a step draws."""
        return sum(size for *_, size in self.by_depth.values())

    def draw(self, device) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Yields each depth with the users, the nodes and the weights of its pairs, each (B,)."""
        for depth, (*columns, size) in self.by_depth.items():
            drawn = torch.randint(len(columns[0]), (size,))
            yield depth, *(column[drawn].to(device) for column in columns)
