"""The tower network: field embeddings through layers of an MLP and an attentional FM."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_hill.data.fields import Encoded, FieldEncoder
from recbole_hill.host.dropout import Dropout
from recbole_hill.labelled.towers.sizes import Part


def feature_table(size: int, dim: int) -> nn.Embedding:
    """Returns a table of small random vectors; row 0, for missing or unknown values, is zero."""
    return draw_small(nn.Embedding(size, dim, padding_idx=0))


@torch.no_grad()
def draw_small(table: nn.Embedding) -> nn.Embedding:
    """Draws small random vectors for a table, and returns it; row 0 is zero."""
    nn.init.normal_(table.weight, std=0.1)
    table.weight[0] = 0
    return table


class FieldEmbedding(nn.Module):
    """One vector per field: a table's row, the mean of several rows, or a scaled direction.

    A token has a row of the table, and a bag the mean of its values' rows. A number scales the
    direction of its field, and an offset is added.

    Args:
        encoder: Encoder of the fields; tokens that train never saw have zero vectors.
        dim: Width E of the vectors.
    """

    def __init__(self, encoder: FieldEncoder, dim: int):
        super().__init__()
        self.table = nn.Embedding(encoder.vocabulary, dim, padding_idx=0)
        n_floats = len(encoder.float_fields)
        self.directions = nn.Parameter(torch.randn(n_floats, dim) * 0.1)
        self.offsets = nn.Parameter(torch.zeros(n_floats, dim))
        draw_small(self.table)

    def forward(self, features: Encoded) -> Tensor:
        """Returns the fields' vectors, (N, F, E): tokens, bags, numbers."""
        features = features.to(self.table.weight.device)
        fields = [self.table(features.tokens)]
        for bag in features.bags:
            held = (bag > 0).sum(1, keepdim=True).clamp_min(1)
            fields.append((self.table(bag).sum(1) / held).unsqueeze(1))
        fields.append(features.floats.unsqueeze(2) * self.directions + self.offsets)
        return torch.cat(fields, 1)


class TowerLayer(nn.Module):
    """Maps F fields to F' fields: an MLP over all fields, plus attention over their products.

    The MLP is the implicit part. The attentional FM (Xiao et al., IJCAI 2017) over pairwise
    products is the explicit part. Both are added, as in EDCN's bridge (Chen et al., CIKM 2021),
    with a shortcut.

    Args:
        n_in: Number of input fields F.
        n_out: Number of output fields F'.
        dim: Width E of the vectors.
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
        mixed = kept + self.deep(fields.flatten(1)).view_as(kept)
        if self.pairs.shape[1]:
            # index_select, because indexing copies number by number: (N, P, E).
            first, second = (fields.index_select(1, end) for end in self.pairs)
            products = first * second
            mixed = mixed + attend(self.attention(products).mT.contiguous(), products)
        return self.norm(mixed)


def attend(logits: Tensor, values: Tensor) -> Tensor:
    """Returns softmax(logits) @ values, several times as fast as torch's softmax for so few logits.

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
        dim: Width E of the field vectors.
        part: Number and width of the output vectors.
        layers: Number of layers.
        widen: Number of fields that a layer passes on, as a multiple of F.
        dropout: Dropout rate of the field vectors' entries, and of the layers' output.
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
        embeddings = self.out(self.drop(self.layers(self.drop(fields))).flatten(1))
        return embeddings.view(len(fields), self.part.embeddings, self.part.dim)
