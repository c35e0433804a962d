"""The over-arch: the towers' embeddings to one logit per task."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_hill.model.monn.sizes import Part


class OverArch(nn.Module):
    """Brings the towers' embeddings to one width and hands them to an interaction network.

    Args:
        parts: What the towers give.
        n_tasks: T.
        kind: ``dhen`` | ``deepfm`` | ``wukong``.
        layers: Of the network.
        tokens: Vectors that a layer passes on.

    Raises:
        ValueError: If there is no such kind.
    """

    def __init__(self, parts: Sequence[Part], n_tasks: int, kind: str, layers: int, tokens: int):
        super().__init__()
        if kind not in OVERARCHES:
            raise ValueError(f"overarch must be one of {', '.join(OVERARCHES)}, got {kind!r}")
        self.dim = max(part.dim for part in parts)
        self.alike = nn.ModuleList(
            nn.Identity() if part.dim == self.dim else nn.Linear(part.dim, self.dim)
            for part in parts
        )
        n_tokens = sum(part.embeddings for part in parts)
        self.network = OVERARCHES[kind](n_tokens, self.dim, n_tasks, layers, tokens)

    def forward(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Maps the towers' (N, num_embed, dim) to logits (N, T)."""
        alike = [map_(part) for map_, part in zip(self.alike, embeddings, strict=True)]
        return self.network(torch.cat(alike, 1))


class DHEN(nn.Module):
    """Layers that add up several kinds of interaction (Zhang et al., arXiv 2203.11014).

    A layer is the ensemble of pairwise inner products and an MLP, with a shortcut and a norm.
    """

    def __init__(self, n_tokens: int, dim: int, n_tasks: int, layers: int, tokens: int):
        super().__init__()
        widths = [n_tokens] + [tokens] * layers
        self.layers = nn.Sequential(*(_Ensemble(*pair, dim) for pair in pairwise(widths)))
        self.head = nn.Linear(widths[-1] * dim, n_tasks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (N, n_tokens, dim) to (N, T)."""
        return self.head(self.layers(tokens).flatten(1))


class _Ensemble(nn.Module):
    def __init__(self, n_in: int, n_out: int, dim: int):
        super().__init__()
        self.register_buffer("pairs", torch.triu_indices(n_in, n_in, 1), persistent=False)
        self.dots = nn.Linear(self.pairs.shape[1], n_out * dim)
        self.deep = nn.Sequential(nn.Linear(n_in * dim, n_out * dim), nn.ReLU())
        self.shortcut = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        products = torch.bmm(tokens, tokens.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        kept = self.shortcut(tokens.transpose(1, 2)).transpose(1, 2)
        found = self.dots(products) + self.deep(tokens.flatten(1))
        return self.norm(kept + found.view_as(kept))


class DeepFM(nn.Module):
    """First order, second order and an MLP, added (Guo et al., IJCAI 2017)."""

    def __init__(self, n_tokens: int, dim: int, n_tasks: int, layers: int, tokens: int):
        super().__init__()
        self.first = nn.Linear(n_tokens * dim, n_tasks)
        self.second = nn.Linear(dim, n_tasks, bias=False)
        widths = [n_tokens * dim] + [max(1, tokens) * dim] * layers
        hidden = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        self.deep = nn.Sequential(*hidden, nn.Linear(widths[-1], n_tasks))

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (N, n_tokens, dim) to (N, T)."""
        products = (tokens.sum(1).square() - tokens.square().sum(1)) / 2
        flat = tokens.flatten(1)
        return self.first(flat) + self.second(products) + self.deep(flat)


class Wukong(nn.Module):
    """Layers of a compressed factorisation machine beside a linear one (arXiv 2403.02545)."""

    def __init__(self, n_tokens: int, dim: int, n_tasks: int, layers: int, tokens: int):
        super().__init__()
        widths = [n_tokens] + [max(2, tokens)] * layers
        self.layers = nn.Sequential(*(_WukongLayer(*pair, dim) for pair in pairwise(widths)))
        self.head = nn.Linear(widths[-1] * dim, n_tasks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (N, n_tokens, dim) to (N, T)."""
        return self.head(self.layers(tokens).flatten(1))


class _WukongLayer(nn.Module):
    #: Columns to which the n x n inner products are compressed, at most.
    rank = 8

    def __init__(self, n_in: int, n_out: int, dim: int):
        super().__init__()
        rank = min(self.rank, n_in)
        of_machine = n_out // 2
        self.compress = nn.Linear(n_in, rank, bias=False)
        self.machine = nn.Sequential(
            nn.LayerNorm(n_in * rank), nn.Linear(n_in * rank, of_machine * dim), nn.ReLU()
        )
        self.linear = nn.Linear(n_in, n_out - of_machine, bias=False)
        self.shortcut = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        columns = tokens.transpose(1, 2)  # (N, dim, n_in)
        products = torch.bmm(tokens, self.compress(columns))  # X X^T Y without n_in x n_in
        of_machine = self.machine(products.flatten(1)).view(len(tokens), -1, tokens.shape[2])
        found = torch.cat((of_machine, self.linear(columns).transpose(1, 2)), 1)
        return self.norm(found + self.shortcut(columns).transpose(1, 2))


OVERARCHES = {"dhen": DHEN, "deepfm": DeepFM, "wukong": Wukong}
