"""Feature columns as tensors: tokens as ids of one vocabulary, numbers normalised by train."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from recbole.utils import FeatureType
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """The features of N rows, F_t token fields and F_f number fields.

    Attributes:
        tokens: One id per token field, int64, shape (N, F_t). 0 stands for a missing value, and for
            a value that train never saw.
        bags: One tensor of ids per token-sequence field, padded with 0, each of shape (N, M).
        floats: Normalised numbers, shape (N, F_f). 0 if the rows do not have the column. A value
            that is missing in a file is replaced by RecBole with the column's mean.
    """

    tokens: Tensor
    bags: tuple[Tensor, ...]
    floats: Tensor

    def __getitem__(self, rows: Tensor) -> "Encoded":
        return Encoded(self.tokens[rows], tuple(bag[rows] for bag in self.bags), self.floats[rows])

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device) -> "Encoded":
        """Returns the features on a device."""
        bags = tuple(bag.to(device) for bag in self.bags)
        return Encoded(self.tokens.to(device), bags, self.floats.to(device))

    @staticmethod
    def cat(parts: Sequence["Encoded"]) -> "Encoded":
        """Returns the rows of all parts in one object, part after part."""
        bags = []
        for of_field in zip(*(part.bags for part in parts), strict=True):
            width = max(bag.shape[1] for bag in of_field)
            bags.append(torch.cat([F.pad(bag, (0, width - bag.shape[1])) for bag in of_field]))
        tokens, floats = (
            torch.cat([getattr(part, kind) for part in parts]) for kind in ("tokens", "floats")
        )
        return Encoded(tokens, tuple(bags), floats)

    def value_lists(self) -> tuple[Tensor, ...]:
        """Returns each token field, then each bag, as lists of values per row, (N, M) each."""
        return (*self.tokens.unsqueeze(2).unbind(1), *self.bags)


class FieldEncoder:
    """Learns from the training rows how feature columns become :class:`Encoded`.

    Args:
        rows: RecBole Interaction with the columns.
        names: Columns to encode.
        dataset: RecBole dataset; it knows the types and the numbers of values.
        of_train: Indices of the rows (of ``rows``) that train knows. Numbers are normalised by the
            mean and the standard deviation of these rows.
        whole: Whether every value that the dataset knows gets an id, also a value that no row of
            ``of_train`` has.

    Attributes:
        token_fields, bag_fields, float_fields: The columns by kind. A number that is the same in
            all of train carries no information and is left out.
        vocabulary: Number of ids that tokens and bags use together, 0 included.

    Raises:
        ValueError: If a column is of another kind, or a number is not finite.
    """

    def __init__(self, rows, names: list[str], dataset, of_train: Tensor, *, whole: bool = False):
        by_kind: dict[FeatureType, list[str]] = {kind: [] for kind in FeatureType}
        for name in names:
            by_kind[dataset.field2type[name]].append(name)
        if others := by_kind[FeatureType.FLOAT_SEQ]:
            raise ValueError(
                f"feature {others[0]!r} is a sequence of numbers; accepted are token, token_seq "
                f"and float (leave it out by unload_col)"
            )
        self.token_fields = tuple(by_kind[FeatureType.TOKEN])
        self.bag_fields = tuple(by_kind[FeatureType.TOKEN_SEQ])
        self._ids: dict[str, Tensor] = {}
        self.vocabulary = 1
        for name in (*self.token_fields, *self.bag_fields):
            known = torch.full((dataset.num(name),), whole)
            known[rows[name][of_train].flatten()] = True
            known[0] = False  # RecBole's padding
            ids = torch.zeros(len(known), dtype=torch.int64)
            ids[known] = torch.arange(self.vocabulary, self.vocabulary + int(known.sum()))
            self._ids[name] = ids
            self.vocabulary += int(known.sum())
        self._scales: dict[str, tuple[float, float]] = {}
        for name in by_kind[FeatureType.FLOAT]:
            values = rows[name].double()
            if not bool(values.isfinite().all()):
                row = int((~values.isfinite()).nonzero()[0])
                raise ValueError(f"feature {name!r} must be finite, got {values[row]} in row {row}")
            values = values[of_train].numpy()
            spread = float(np.std(values))
            if spread > 1e-9 * float(np.abs(values).max(initial=0)):
                self._scales[name] = float(np.mean(values)), spread
        self.float_fields = tuple(self._scales)

    @property
    def n_fields(self) -> int:
        """Number of fields that are encoded."""
        return len(self.token_fields) + len(self.bag_fields) + len(self.float_fields)

    def ids_of(self, name: str) -> Tensor:
        """Returns the id of each of RecBole's V values of a token field, 0 for unknown, (V,)."""
        return self._ids[name]

    def encode(self, rows, n_rows: int) -> Encoded:
        """Returns the features of some rows; a column that they lack counts as missing."""

        def ids(name: str) -> Tensor:
            if name not in rows:
                return torch.zeros(n_rows, dtype=torch.int64)
            known = self._ids[name]
            values = rows[name].cpu()
            return known[torch.where(values < len(known), values, 0)]

        def number(name: str) -> Tensor:
            if name not in rows:
                return torch.zeros(n_rows)
            mean, spread = self._scales[name]
            return ((rows[name].cpu().double() - mean) / spread).float()

        def bag(name: str) -> Tensor:
            values = ids(name)
            return values if values.ndim == 2 else values.unsqueeze(1)

        tokens = [ids(name) for name in self.token_fields]
        floats = [number(name) for name in self.float_fields]
        return Encoded(
            torch.stack(tokens, 1) if tokens else torch.zeros(n_rows, 0, dtype=torch.int64),
            tuple(bag(name) for name in self.bag_fields),
            torch.stack(floats, 1) if floats else torch.zeros(n_rows, 0),
        )
