"""The tower network: field embeddings through layers of an MLP beside an attentional FM."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_hill.data.fields import Encoded, FieldEncoder
from recbole_hill.host.dropout import Dropout
from recbole_hill.labelled.towers.sizes import Part


def feature_table(size: int, dim: int) -> nn.Embedding:
    """Returns a table of small random vectors; row 0, of what is missing or unknown, stays zero."""
    return draw_small(nn.Embedding(size, dim, padding_idx=0))


@torch.no_grad()
def draw_small(table: nn.Embedding) -> nn.Embedding:
    """Draws a table's vectors anew, small, and returns it; row 0 is zero."""
    nn.init.normal_(table.weight, std=0.1)
    table.weight[0] = 0
    return table


class FieldEmbedding(nn.Module):
    """One vector per field: a table's row, the mean of several, or a scaled direction.

    Args:
        encoder: Whose fields; tokens train never saw are zero vectors.
        dim: E.
    """

    def __init__(self, encoder: FieldEncoder, dim: int):
        super().__init__()
        self.table = nn.Embedding(encoder.vocabulary, dim, padding_idx=0)
        n_floats = len(encoder.float_fields)
        self.directions = nn.Parameter(torch.randn(n_floats, dim) * 0.1)
        self.offsets = nn.Parameter(torch.zeros(n_floats, dim))
        draw_small(self.table)

    def forward(self, features: Encoded) -> Tensor:
        """Returns the fields' vectors, (N, F, E): tokens, bags, floats."""
        features = features.to(self.table.weight.device)
        fields = [self.table(features.tokens)]
        for bag in features.bags:
            held = (bag > 0).sum(1, keepdim=True).clamp_min(1)
            fields.append((self.table(bag).sum(1) / held).unsqueeze(1))
        fields.append(features.floats.unsqueeze(2) * self.directions + self.offsets)
        return torch.cat(fields, 1)


class TowerLayer(nn.Module):
    """F fields to F' fields: what an MLP makes of all, what attention picks of their products.

    The MLP is the implicit part, the attentional FM (Xiao et al., IJCAI 2017) over pairwise
    products the explicit one, added as EDCN's bridge does (Chen et al., CIKM 2021), and a shortcut.

    Args:
        n_in: F.
        n_out: F'.
        dim: E.
    """

    def __init__(self, n_in: int, n_out: int, dim: int):
        super().__init__()
        self.register_buffer("pairs", torch.triu_indices(n_in, n_in, 1), persistent=False)
        self.deep = nn.Sequential(nn.Linear(n_in * dim, n_out * dim), nn.ReLU())
        self.attention = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, n_out))
        self.shortcut = nn.Linear(n_in, n_out, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, fields: Tensor) -> Tensor:
        """Maps (N, F, E) to (N, F', E)."""
        kept = self.shortcut(fields.transpose(1, 2)).transpose(1, 2)
        found = kept + self.deep(fields.flatten(1)).view_as(kept)
        if self.pairs.shape[1]:
            # Not by indexing, which copies number by number: (N, P, E).
            first, second = (fields.index_select(1, end) for end in self.pairs)
            products = first * second
            found = found + attend(self.attention(products).mT.contiguous(), products)
        return self.norm(found)


def attend(logits: Tensor, values: Tensor) -> Tensor:
    """Returns softmax(logits) @ values, several times as fast as with torch's own over so few.

    Args:
        logits: Shape (N, F, P), contiguous.
        values: Shape (N, P, E).

    Returns:
        Shape (N, F, E).
    """
    weights = (logits - logits.detach().amax(2, keepdim=True)).exp()
    return (weights @ values) / weights.sum(2, keepdim=True)


class Tower(nn.Module):
    """Layers over F field vectors, and a linear map to the tower's embeddings.

    Args:
        n_fields: F, at least 1.
        dim: E.
        part: What comes out.
        layers: How many.
        widen: Fields that a layer passes on, as a multiple of F.
        dropout: Of the entries of the field vectors, and of what the layers make of them.
    """

    def __init__(
        self,
        n_fields: int,
        dim: int,
        part: Part,
        layers: int,
        widen: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.drop = Dropout(dropout)
        widths = [n_fields] + [n_fields * widen] * layers
        self.layers = nn.Sequential(*(TowerLayer(*pair, dim) for pair in pairwise(widths)))
        self.out = nn.Linear(widths[-1] * dim, part.width)
        self.part = part

    def forward(self, fields: Tensor) -> Tensor:
        """Maps (N, F, E) to (N, num_embed, dim)."""
        found = self.out(self.drop(self.layers(self.drop(fields))).flatten(1))
        return found.view(len(fields), self.part.embeddings, self.part.dim)
