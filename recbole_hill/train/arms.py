"""Arms: the compared variants of one run."""

from dataclasses import dataclass

from torch import Tensor

from recbole_hill.retrieval.base import Retriever


@dataclass(frozen=True)
class Arm:
    """One compared variant of a run: the tested weights and the search that makes the lists.

    Attributes:
        name: Name of the arm in the rows and in the table.
        weights: File of the weights in the run's folder.
        vectors: User and item vectors that replace the model's vectors, (U + 1, D) and (I + 1, D);
            None uses the model's vectors.
        retriever: Search that makes the lists; None scores every item.
        served: Whether the run serves this arm.
    """

    name: str
    weights: str
    vectors: tuple[Tensor, Tensor] | None = None
    retriever: Retriever | None = None
    served: bool = True
