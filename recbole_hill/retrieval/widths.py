"""What a search down the index may be asked for, checked before anything is searched."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from recbole_hill.checks import one_of
from recbole_hill.index.hierarchy import HierarchicalIndex

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

RETRIEVALS = ("exact", "beam", "faiss")
NODE_SCORES = ("mean", "best")


def require_retrieval(name: str) -> None:
    """Refuses an unknown name of a retriever.

    Raises:
        ValueError: If the name is unknown. The message names it and what is accepted.
    """
    one_of("retrieval", name, RETRIEVALS)


def require_fit(index: HierarchicalIndex, item_vectors: Tensor | np.ndarray) -> None:
    """Refuses an index over other items, or over the vectors of another model.

    Raises:
        ValueError: If the sizes differ. The message names both.
    """
    if index.n_items != len(item_vectors):
        raise ValueError(f"the index holds {index.n_items} items, the vectors {len(item_vectors)}")
    width = index.vectors[0].shape[1]
    if width != item_vectors.shape[1]:
        raise ValueError(
            f"the index's node vectors are {width} wide, the item vectors {item_vectors.shape[1]}: "
            f"the index is another model's"
        )


def beam_widths(beam_width: int | Sequence[int] | str, nodes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the number of nodes kept per depth, at most the number of nodes of the depth.

    Args:
        beam_width: As in :class:`~recbole_hill.retrieval.descent.Descent`.
        nodes: Number of nodes per depth, in the order of ``beam_width``.

    Raises:
        ValueError: If ``beam_width`` is not ``"full"``, a positive integer, or one positive integer
            per depth.
    """
    if beam_width == "full":
        return nodes
    widths = (beam_width,) * len(nodes) if isinstance(beam_width, Integral) else beam_width
    if (
        not isinstance(widths, Sequence)
        or len(widths) != len(nodes)
        or any(isinstance(w, bool) or not isinstance(w, Integral) or w < 1 for w in widths)
    ):
        raise ValueError(
            f"beam_width must be a positive integer, one per depth of {nodes}, or 'full'; "
            f"got {beam_width!r}"
        )
    return tuple(min(pair) for pair in zip(widths, nodes, strict=True))
