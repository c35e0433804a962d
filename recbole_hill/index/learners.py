"""The contract of an index learner: vectors of users and items in, a hierarchical index out.

The setting ``index_learning`` names a learner of the registry. A learner that trains its nodes by
gradient, together with the backbone or after it, derives from
:class:`~recbole_hill.index.gradient.GradientLearner`. Depth 1 is the nodes just above the items,
depth L the coarsest nodes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from recbole_hill.index.codes import NodeUsage, usage_of_tree
from recbole_hill.index.hierarchy import HierarchicalIndex


class Vectors(NamedTuple):
    """The vectors of a trained model, without padding rows.

    Attributes:
        users: Shape (U, D), float32; None where a model has no user vectors.
        items: Shape (I, D), float32.
    """

    users: np.ndarray | None
    items: np.ndarray


class IndexLearner(ABC):
    """Learns a :class:`~recbole_hill.index.hierarchy.HierarchicalIndex` over item vectors."""

    #: Whether the nodes are weights of the model, trained by ``joint_loss``.
    by_gradient: ClassVar[bool] = False
    #: Number of M-steps; each trains the backbone on the nodes, and then the index is learnt again.
    rounds: int = 0

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping, *, n_items: int, dim: int | None) -> "IndexLearner":
        """Builds the learner that a run's settings ask for.

        Args:
            settings: Settings by key, including the settings of the learner's YAML file.
            n_items: I.
            dim: D; None for a learner that is not ``by_gradient``.

        Raises:
            ValueError: If a setting does not fit. The message names the key, the value and what is
                accepted.
        """

    @abstractmethod
    def learn(
        self, vectors: Vectors, ids: Sequence[str], start: HierarchicalIndex | None = None
    ) -> HierarchicalIndex:
        """Learns an index.

        Args:
            vectors: Vectors of the trained model.
            ids: External item ids, (I,); item r of the index is row r of ``vectors.items``.
            start: Index over the same ids, from the last EM round or from an older run; learning
                may begin from its node vectors.

        Returns:
            The index.
        """

    def node_codes(self, index: HierarchicalIndex, items: np.ndarray) -> np.ndarray:
        """Returns the node of every item at depths 1..L, as the learner numbers its nodes, (L, I).

        Args:
            index: An index that :meth:`learn` returned.
            items: Item vectors, shape (I, D).
        """
        return np.stack([index.assignments(depth) for depth in range(1, index.depth + 1)])

    def usage(self, index: HierarchicalIndex, items: np.ndarray) -> list[NodeUsage]:
        """Returns how evenly the nodes at depths 1..L are used; arguments as :meth:`node_codes`."""
        return usage_of_tree(index)
