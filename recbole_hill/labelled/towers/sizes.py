"""Sizes of a Modular Neural Network (HSNN, Table 5), and how they are scaled to small data."""

from dataclasses import dataclass

from recbole_hill.checks import is_number, one_of


@dataclass(frozen=True)
class Part:
    """The output of one tower.

    Attributes:
        embeddings: Number of vectors, num_embed.
        dim: Width of each vector.
    """

    embeddings: int
    dim: int

    @property
    def width(self) -> int:
        """Width of all vectors together."""
        return self.embeddings * self.dim

    def scaled(self, factor: float) -> "Part":
        """Returns the part with ``factor`` times the width: number and dim times its root each."""
        return Part(_times_root(self.embeddings, factor), max(4, round(self.dim * factor**0.5)))


@dataclass(frozen=True)
class Size:
    """One column of Table 5, and the settings that the paper leaves open.

    Attributes:
        user, item, interaction: Outputs of the three towers. Without embeddings in ``interaction``
            the model has no interaction tower, and is a dot product.
        layers: Number of layers of every tower, and of the over-arch.
        fields: Number of fields that a tower layer passes on, as a multiple of its input fields.
        tokens: Number of vectors that an over-arch layer passes on.
    """

    user: Part
    item: Part
    interaction: Part
    layers: int
    fields: int
    tokens: int

    def scaled(self, factor: float) -> "Size":
        """Returns the size with parts and tokens of ``factor`` times the width; layers stay."""
        parts = (part.scaled(factor) for part in (self.user, self.item, self.interaction))
        return Size(*parts, self.layers, self.fields, _times_root(self.tokens, factor))

    @property
    def is_dot_product(self) -> bool:
        """Whether a score is only an inner product of a user and an item."""
        return not self.interaction.embeddings


def _times_root(count: int, factor: float) -> int:
    """Returns a count times the root of a factor, at least 1; 0 if the count is 0."""
    return max(1, round(count * factor**0.5)) if count else 0


SIZES = {
    "XS": Size(Part(1, 40), Part(1, 40), Part(0, 40), layers=1, fields=1, tokens=0),
    "S": Size(Part(8, 40), Part(1, 40), Part(1, 40), layers=1, fields=1, tokens=2),
    "M": Size(Part(10, 48), Part(4, 48), Part(1, 48), layers=2, fields=1, tokens=4),
    "L": Size(Part(30, 48), Part(8, 48), Part(1, 48), layers=2, fields=2, tokens=8),
    "XL": Size(Part(80, 96), Part(4, 96), Part(1, 96), layers=3, fields=2, tokens=16),
}


def size_of(name: str, scale: float) -> Size:
    """Returns a size by name.

    Args:
        name: ``XS`` | ``S`` | ``M`` | ``L`` | ``XL``.
        scale: Factor of the widths of towers and over-arch, positive; 1 is the paper's size.

    Raises:
        ValueError: If there is no such size, or the scale is not positive.
    """
    size = SIZES[one_of("a MoNN's size", name, SIZES)]
    if not is_number(scale) or not scale > 0:
        raise ValueError(f"monn_scale must be a positive number, got {scale!r}")
    return size.scaled(scale)
