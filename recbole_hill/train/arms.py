"""Arms: the compared variants of one run."""

from dataclasses import dataclass

from torch import Tensor

from recbole_hill.retrieval.base import Retriever
from recbole_hill.run.folder import CHOICE

#: The arm after the M-steps.
AFTER_EM = "backbone + EM"
#: What each arm of a HILL run is. docs/concepts/arms.md has the same words.
MEANINGS = {
    "backbone": "the trained model",
    AFTER_EM: "the model after rounds of k-means and training on its nodes (`em_rounds`)",
    "continue": "as many training steps as `pairs`, without pairs",
    "random_nodes": "the pairs, with their nodes replaced by random ones",
    "random_users": "the pairs, with their users replaced by random ones",
    "average": "no training: users moved toward their nodes",
    "average_random": "no training: users moved toward random nodes",
    "untrained": "the pairs as edges of the graph, without training",
    "untrained_random": "random nodes as edges of the graph, without training",
    "pairs": "test-time training on the pairs",
    "HILL": "what validation prefers: `pairs`, the weights before it, or `backbone`",
}
#: What each line of the floor is.
FLOOR = {
    "Pop": "the most popular items, with no training",
    "ItemKNN": "the items that share users with the user's own, with no training",
}


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


def exact_arm(stages: dict[str, dict]) -> str:
    """Returns the arm of a HILL run that ranks every item with the weights that the run serves.

    Args:
        stages: The run's stages, to the last.
    """
    unadapted = AFTER_EM if "em_0" in stages else "backbone"
    arms = {"adapted": "pairs", "unadapted": unadapted, "backbone": "backbone"}
    return arms[stages[CHOICE]["kept"]]
