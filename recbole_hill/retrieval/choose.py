"""Builds the retriever that a name in the settings or on the command line asks for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.faiss_ivf import FaissRetriever
from recbole_hill.retrieval.widths import NODE_SCORES, beam_widths, require_retrieval


def choose_retriever(
    name: str,
    items: Tensor,
    index: HierarchicalIndex | None = None,
    *,
    beam_width: int | Sequence[int] | str | None = None,
    node_score: str = "mean",
    faiss_probe: str = "beam",
) -> Retriever:
    """Builds a retriever over a model's current item vectors.

    Args:
        name: ``exact`` | ``beam`` | ``faiss``.
        items: Item vectors with RecBole's padding row first, shape (I + 1, D). The retriever
            returns RecBole's ids, 1..I.
        index: Tree over items 1..I, for ``beam`` and ``faiss``. Only the tree is used: the vectors
            of the nodes become the means of the current item vectors.
        beam_width: Nodes kept per depth, finest first. The first number is also the number of
            FAISS's lists that are scanned, for both values of ``faiss_probe``.
        node_score: ``mean`` | ``best``, see :class:`~recbole_hill.retrieval.descent.Descent`. With
            ``faiss_probe: nodes``, only the mean is possible.
        faiss_probe: ``beam`` | ``nodes``, how FAISS's lists are chosen; see
            :class:`~recbole_hill.retrieval.faiss_ivf.FaissRetriever`.

    Raises:
        ValueError: If the name is unknown, the index is missing or does not fit, or
            :func:`require_node_score` refuses.
    """
    require_retrieval(name)
    vectors, ids = items[1:], torch.arange(1, len(items), device=items.device)
    if name == "exact":
        return ExactRetriever(vectors, ids)
    if index is None:
        raise ValueError(f"retrieval {name} needs an index, and there is none; accepted is exact")
    require_node_score(node_score, faiss_probe)
    index = index.refreshed(vectors.detach().cpu().numpy())
    options = {"beam_width": beam_width, "node_score": node_score}
    if name == "beam":
        return BeamRetriever(index, vectors, ids, **options)
    if faiss_probe == "beam":
        return FaissRetriever(index, vectors, ids, **options)
    n_probe = beam_widths(beam_width, index.nodes_per_depth)[0]
    return FaissRetriever(index, vectors, ids, probe=faiss_probe, n_probe=n_probe)


def require_node_score(node_score: str, faiss_probe: str) -> None:
    """Refuses ``node_score: best`` where FAISS itself chooses the nodes: FAISS cannot use it.

    Raises:
        ValueError: If the two do not fit. The message names both settings.
    """
    if one_of("node_score", node_score, NODE_SCORES) == "best" and faiss_probe == "nodes":
        raise ValueError(
            "node_score best is for our own search, and with faiss_probe nodes FAISS picks the "
            "nodes itself; there accepted is mean"
        )
