"""Refusing vectors that are not numbers, by name, before they reach a search or an index."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

#: Rows that a message about bad vectors names.
_NAMED = 3


def require_finite(
    name: str, vectors: Tensor | np.ndarray, tokens: Sequence[str] | None = None
) -> None:
    """Refuses vectors with NaN or infinity.

    Args:
        name: What they are, for the message.
        vectors: Shape (N, D).
        tokens: The external id of each row, to be named in the row's place.

    Raises:
        ValueError: Naming how many rows, and the first of them.
    """
    bad = (~torch.as_tensor(vectors).isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        first = [str(row) if tokens is None else repr(str(tokens[row])) for row in bad[:_NAMED]]
        which = f"{'row' if tokens is None else 'id'} {', '.join(first)}"
        raise ValueError(
            f"{name} must be finite, but {len(bad):,} of {len(vectors):,} are not "
            f"({which}{', ...' if len(bad) > _NAMED else ''}); the model has diverged"
        )
