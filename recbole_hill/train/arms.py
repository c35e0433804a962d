"""Arms: the compared variants of one run."""

from dataclasses import dataclass

from torch import Tensor

from recbole_hill.retrieval.base import Retriever


@dataclass(frozen=True)
class Arm:
    """One compared variant of a run: the weights that are tested, and how they make lists.

    Attributes:
        name: As the rows and the table show it.
        weights: File of the weights in the run's folder.
        vectors: User and item vectors that replace those of the weights, (U + 1, D) and
            (I + 1, D); None where the weights speak for themselves.
        retriever: The search that makes the lists; None scores every item.
        served: Whether the run serves this arm.
    """

    name: str
    weights: str
    vectors: tuple[Tensor, Tensor] | None = None
    retriever: Retriever | None = None
    served: bool = True
