"""Builds the retriever that a name in the settings or on the command line asks for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.widths import require_retrieval


def choose_retriever(
    name: str,
    items: Tensor,
    index: HierarchicalIndex | None = None,
    *,
    beam_width: int | Sequence[int] | str | None = None,
    node_score: str = "mean",
) -> Retriever:
    """Builds a retriever over a model's current item vectors.

    Args:
        name: ``exact`` | ``beam`` | ``faiss``.
        items: Item vectors with RecBole's padding row first, shape (I + 1, D). The retriever
            returns RecBole's ids, 1..I.
        index: Tree over items 1..I, for ``beam`` and ``faiss``. Only the tree is used: the vectors
            of the nodes become the means of the current item vectors.
        beam_width: Nodes kept per depth, finest first. The first number is also the number of
            FAISS's lists that are scanned.
        node_score: ``mean`` | ``best``, see :class:`~recbole_hill.retrieval.descent.Descent`.

    Raises:
        ValueError: If the name or the node score is unknown, or the index is missing or does not
            fit.
    """
    require_retrieval(name)
    vectors, ids = items[1:], torch.arange(1, len(items), device=items.device)
    if name == "exact":
        return ExactRetriever(vectors, ids)
    if index is None:
        raise ValueError(f"retrieval {name} needs an index, and there is none; accepted is exact")
    index = index.refreshed(vectors.detach().cpu().numpy())
    options = {"beam_width": beam_width, "node_score": node_score}
    kind = BeamRetriever if name == "beam" else FaissRetriever
    return kind(index, vectors, ids, **options)
