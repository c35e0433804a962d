"""The over-arch: maps the towers' embeddings to one logit per task.

The user's vectors are an argument of their own, so that the first layer's work on a user is done
once for all items that are scored for the user. In training there is one item per user.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.checks import one_of
from recbole_hill.labelled.towers.sizes import Part


class OverArch(nn.Module):
    """Maps the towers' embeddings to one width, and passes them to an interaction network.

    Args:
        parts: Outputs of the towers: the user's part first, then the parts of the pair.
        n_tasks: Number of tasks T.
        kind: ``dhen`` | ``deepfm`` | ``wukong``.
        layers: Number of layers of the network.
        tokens: Number of vectors that a layer passes on.

    Raises:
        ValueError: If there is no such kind.
    """

    def __init__(self, parts: Sequence[Part], n_tasks: int, kind: str, layers: int, tokens: int):
        super().__init__()
        network = OVERARCHES[one_of("overarch", kind, OVERARCHES)]
        self.dim = max(part.dim for part in parts)
        self.alike = nn.ModuleList(
            nn.Identity() if part.dim == self.dim else nn.Linear(part.dim, self.dim)
            for part in parts
        )
        counts = [part.embeddings for part in parts]
        self.network = network(counts[0], sum(counts[1:]), self.dim, n_tasks, layers, tokens)

    def forward(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Scores C items for each of b users.

        Args:
            embeddings: The users' embeddings, shape (b, num_embed, dim); then the items' and the
                interactions' embeddings, each of shape (b, C, num_embed, dim).

        Returns:
            Logits, shape (b, C, T).
        """
        users, *beside = (map_(part) for map_, part in zip(self.alike, embeddings, strict=True))
        return self.network(users, torch.cat(beside, 2))


class DHEN(nn.Module):
    """Layers that add several kinds of interaction (Zhang et al., arXiv 2203.11014).

    A layer adds pairwise inner products and an MLP, with a shortcut and a norm.
    """

    def __init__(
        self, n_users: int, n_beside: int, dim: int, n_tasks: int, layers: int, tokens: int
    ):
        super().__init__()
        self.first = _Ensemble(n_users, n_beside, tokens, dim)
        self.layers = nn.ModuleList(_Ensemble(0, tokens, tokens, dim) for _ in range(1, layers))
        self.head = nn.Linear(tokens * dim, n_tasks)

    def forward(self, users: Tensor, beside: Tensor) -> Tensor:
        """Maps (b, n_users, dim) and (b, C, n_beside, dim) to (b, C, T)."""
        tokens = self.first(beside, users)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens.flatten(2))


class _Ensemble(nn.Module):
    """A layer of DHEN over ``n_shared`` vectors of a user and ``n_own`` vectors of each pair."""

    def __init__(self, n_shared: int, n_own: int, n_out: int, dim: int):
        super().__init__()
        for name, n in {"own": n_own, "shared": n_shared}.items():
            row, column = torch.triu_indices(n, n, 1)
            self.register_buffer(name, row * n + column, persistent=False)
        n_across = n_own * n_shared + len(self.own)
        self.products = PartLinear(len(self.shared), n_across, n_out * dim)
        self.deep = PartLinear(n_shared * dim, n_own * dim, n_out * dim)
        self.shortcut = PartLinear(n_shared, n_own, n_out, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, own: Tensor, shared: Tensor | None = None) -> Tensor:
        """Maps (b, C, n_own, dim), with users (b, n_shared, dim), to (b, C, n_out, dim)."""
        pairs, alone, flat, columns = own.flatten(0, 1), None, None, None
        products = _products(pairs, self.own).unflatten(0, own.shape[:2])
        if shared is not None:
            across = torch.bmm(own.flatten(1, 2), shared.mT).view(*own.shape[:2], -1)
            products = torch.cat((across, products), 2)
            alone = _products(shared, self.shared)
            flat, columns = shared.flatten(1), shared.mT
        kept = self.shortcut(own.mT, columns).mT
        interactions = self.products(products, alone) + F.relu(self.deep(own.flatten(2), flat))
        return self.norm(kept + interactions.view_as(kept))


def _products(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Returns inner products of pairs of n vectors, (N, P); pair (i, j) is the number i n + j."""
    return _Gram.apply(vectors).flatten(1).index_select(1, pairs)


class _Gram(torch.autograd.Function):
    """X X^T of each of N matrices; its backward is one product, (G + G^T) X."""

    @staticmethod
    def forward(ctx, vectors: Tensor) -> Tensor:
        """Maps (N, n, D) to (N, n, n)."""
        ctx.save_for_backward(vectors)
        return torch.bmm(vectors, vectors.mT)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        """Maps (N, n, n) to (N, n, D)."""
        return torch.bmm(gradient + gradient.mT, *ctx.saved_tensors)


class DeepFM(nn.Module):
    """The sum of a first-order term, a second-order term and an MLP (Guo et al., IJCAI 2017)."""

    def __init__(
        self, n_users: int, n_beside: int, dim: int, n_tasks: int, layers: int, tokens: int
    ):
        super().__init__()
        width = max(1, tokens) * dim
        self.first = PartLinear(n_users * dim, n_beside * dim, n_tasks)
        self.second = nn.Linear(dim, n_tasks, bias=False)
        self.wide = PartLinear(n_users * dim, n_beside * dim, width)
        hidden = [part for _ in range(1, layers) for part in (nn.Linear(width, width), nn.ReLU())]
        self.deep = nn.Sequential(nn.ReLU(), *hidden, nn.Linear(width, n_tasks))

    def forward(self, users: Tensor, beside: Tensor) -> Tensor:
        """Maps (b, n_users, dim) and (b, C, n_beside, dim) to (b, C, T)."""
        sums = users.sum(1).unsqueeze(1) + beside.sum(2)
        squares = users.square().sum(1).unsqueeze(1) + beside.square().sum(2)
        flat = beside.flatten(2), users.flatten(1)
        return (
            self.first(*flat)
            + self.second((sums.square() - squares) / 2)
            + self.deep(self.wide(*flat))
        )


class Wukong(nn.Module):
    """Layers of a compressed factorisation machine and a linear part (arXiv 2403.02545).

    The norm covers products of the user's vectors with all other vectors, so no part of a layer can
    be computed once per user.
    """

    def __init__(
        self, n_users: int, n_beside: int, dim: int, n_tasks: int, layers: int, tokens: int
    ):
        super().__init__()
        widths = [n_users + n_beside] + [max(2, tokens)] * layers
        self.layers = nn.Sequential(*(_WukongLayer(*pair, dim) for pair in pairwise(widths)))
        self.head = nn.Linear(widths[-1] * dim, n_tasks)

    def forward(self, users: Tensor, beside: Tensor) -> Tensor:
        """Maps (b, n_users, dim) and (b, C, n_beside, dim) to (b, C, T)."""
        users = users.unsqueeze(1).expand(-1, beside.shape[1], -1, -1)
        tokens = torch.cat((users, beside), 2).flatten(0, 1)
        return self.head(self.layers(tokens).flatten(1)).unflatten(0, beside.shape[:2])


class _WukongLayer(nn.Module):
    #: Largest number of columns to which the n x n inner products are compressed.
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
        mixed = torch.cat((of_machine, self.linear(columns).transpose(1, 2)), 1)
        return self.norm(mixed + self.shortcut(columns).transpose(1, 2))


class PartLinear(nn.Linear):
    """A linear map of a user's vector followed by a pair's; the user's part is computed once.

    Args:
        n_shared: Width of a user's vector; 0 if there is none.
        n_own: Width of a pair's vector.
        n_out: Width of the output.
        bias: Whether the map has a bias.
    """

    def __init__(self, n_shared: int, n_own: int, n_out: int, bias: bool = True):
        super().__init__(n_shared + n_own, n_out, bias)
        self.n_shared = n_shared

    def forward(self, own: Tensor, shared: Tensor | None = None) -> Tensor:
        """Maps pairs (b, C, ..., n_own) and users (b, ..., n_shared) to (b, C, ..., n_out)."""
        mapped = F.linear(own, self.weight[:, self.n_shared :], self.bias)
        if not self.n_shared:
            return mapped
        return mapped + F.linear(shared, self.weight[:, : self.n_shared]).unsqueeze(1)


OVERARCHES = {"dhen": DHEN, "deepfm": DeepFM, "wukong": Wukong}
