"""What every HILL shares, whatever its backbone learns from: its index, and the index's learner."""

from collections.abc import Callable

from torch import Tensor, nn

from recbole_hill import registry
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner
from recbole_hill.index.node_vectors import NodeVectors
from recbole_hill.model.settings import HillSettings

#: Weight of the loss on nodes, beside the backbone's loss, in an M-step.
EM_WEIGHT = 0.1


class IndexedModel:
    """A backbone with a hierarchical index over its items.

    A subclass is a RecBole model, calls :meth:`_add_index` at the end of its ``__init__``, and
    defines ``vectors``: user vectors (U + 1, D) or None, and item vectors (I + 1, D).

    Attributes:
        backbone: The model under the index.
        settings: HILL's settings.
        learner: The index learner that ``index_learning`` names.
        index: The published index, which the stages of :mod:`recbole_hill.pipeline` set.
        nodes: The vectors of the index's nodes.
    """

    backbone: nn.Module
    settings: HillSettings
    learner: IndexLearner
    vectors: Callable[[], tuple[Tensor | None, Tensor]]

    def _add_index(self, config) -> None:
        """Builds the learner; there is no index yet.

        Raises:
            ValueError: If the learner's nodes learn with the backbone, and the backbone is fitted
                at once (without epochs).
        """
        learner = registry.LEARNERS.find(config["index_learning"]).load()
        if learner.by_gradient and learner.with_backbone and hasattr(self.backbone, "fit_once"):
            raise ValueError(
                f"index_learning {config['index_learning']} needs a backbone that trains by "
                f"epochs, and {config['backbone']} is fitted at once; accepted are em, separate "
                "and every other learner that does not train with the backbone"
            )
        dim = self._dim() if learner.by_gradient else None
        self.learner = learner.from_settings(config, n_items=self.n_items - 1, dim=dim)
        self.index: HierarchicalIndex | None = None
        self.nodes: NodeVectors | None = None

    def _dim(self) -> int:
        """Returns D, which depends on several settings in some backbones."""
        raise NotImplementedError

    @property
    def learns_index_with_backbone(self) -> bool:
        """Whether the index's nodes are trained together with the backbone."""
        return self.learner.by_gradient and self.learner.with_backbone

    def set_index(self, index: HierarchicalIndex) -> None:
        """Sets the index; its nodes become targets of ``em_loss`` and of the pairs."""
        self.index = index
        self.nodes = NodeVectors(index).to(self.device)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the backbone, and nodes that learn with the backbone, which epoch starts.

        Args:
            epoch: Number of the epoch, from 0, counted over all runs that trained the backbone.
        """
        self.begin_backbone_epoch(epoch)
        if self.learns_index_with_backbone and (
            self.learner.started or epoch >= self.learner.first_epoch
        ):
            self.eval()  # RecBole's loop switches back to training
            self.learner.begin_epoch(self.vectors()[1][1:])

    def begin_backbone_epoch(self, epoch: int) -> None:
        """Tells the backbone which of its epochs starts.

        A later stage continues the count, so that a backbone with a warm-up (NESCL) does not warm
        up again.
        """
        if hasattr(self.backbone, "begin_epoch"):
            self.backbone.begin_epoch(epoch)

    def backbone_loss(self, interaction) -> Tensor:
        """Returns the backbone's own loss as one scalar, with every index learner."""
        loss = self.backbone.calculate_loss(interaction)
        return sum(loss) if isinstance(loss, tuple) else loss
