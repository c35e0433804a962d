"""HILL: a backbone, the hierarchical index over its items, and training on index nodes.

Reference:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation."
    arXiv 2604.12965, 2026. By gradient: sections 3.2 to 3.4; by EM: 3.5; pairs: 3.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_hill import registry
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner
from recbole_hill.index.node_vectors import NodeVectors
from recbole_hill.model.backbone import (
    loss_and_embeddings,
    sums_over_batch,
    user_item_embeddings,
)
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.losses import bpr
from recbole_hill.model.settings import HillSettings

#: Weight of the node targets beside the backbone's loss in an M-step.
EM_WEIGHT = 0.1


class HILL(EmbeddingModel):
    """A backbone that is searched through, and fine-tuned on, a hierarchical index.

    The model holds the backbone's weights, the index learner and, where the learner is by gradient,
    its nodes. The published index is a value that the stages of
    :mod:`recbole_hill.pipeline` give to it.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.settings = HillSettings.from_config(config, n_items=self.n_items - 1)
        backbone = registry.find(config["backbone"]).load()
        if backbone.input_type != self.input_type:
            raise ValueError(
                f"backbone {config['backbone']} trains on {backbone.input_type.name} batches; "
                f"HILL needs {self.input_type.name} ones"
            )
        self.backbone = backbone(config, dataset)
        #: Learns the index, as ``index_learning`` names it.
        self.learner = self._learner(config)
        self.index: HierarchicalIndex | None = None
        self.nodes: NodeVectors | None = None

    def _learner(self, config) -> IndexLearner:
        """Builds the learner that ``index_learning`` names.

        Raises:
            ValueError: If its nodes would learn with a backbone that is fitted at once.
        """
        learner = registry.LEARNERS.find(config["index_learning"]).load()
        if learner.by_gradient and learner.with_backbone and hasattr(self.backbone, "fit_once"):
            raise ValueError(
                f"index_learning {config['index_learning']} needs a backbone that trains by "
                f"epochs, and {config['backbone']} is fitted at once; accepted are em, separate "
                "and every other learner that does not train with the backbone"
            )
        dim = self._dim() if learner.by_gradient else None
        return learner.from_settings(config, n_items=self.n_items - 1, dim=dim)

    @torch.no_grad()
    def _dim(self) -> int:
        """Returns D, which some backbones make of several settings."""
        return self.user_item_embeddings()[1].shape[1]

    @property
    def fit_once(self) -> Callable[[], None]:
        """The backbone's own fit; HILL has the attribute only where the backbone has it."""
        return self.backbone.fit_once

    @property
    def learns_index_with_backbone(self) -> bool:
        """Whether the index's nodes are trained together with the backbone."""
        return self.learner.by_gradient and self.learner.with_backbone

    def set_index(self, index: HierarchicalIndex) -> None:
        """Takes over an index; its nodes become targets of :meth:`em_loss` and of pairs."""
        self.index = index
        self.nodes = NodeVectors(index).to(self.device)

    def begin_epoch(self, epoch: int) -> None:
        """Tells the backbone which of its own epochs starts, and the nodes if they learn with it.

        Args:
            epoch: From 0, counted over all runs that trained the backbone.
        """
        self.begin_backbone_epoch(epoch)
        if self.learns_index_with_backbone and (
            self.learner.started or epoch >= self.learner.first_epoch
        ):
            self.eval()  # RecBole's loop switches back to training
            self.learner.begin_epoch(self.vectors()[1][1:])

    def begin_backbone_epoch(self, epoch: int) -> None:
        """Tells the backbone which of its epochs starts.

        A later stage goes on counting: a backbone that warms up (NESCL) does not warm up again.
        """
        if hasattr(self.backbone, "begin_epoch"):
            self.backbone.begin_epoch(epoch)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the backbone's vectors, (U, D) and (I, D)."""
        return user_item_embeddings(self.backbone)

    def calculate_loss(self, interaction) -> Tensor | tuple[Tensor, ...]:
        """The backbone's own loss and, where the nodes learn with the backbone, the index's."""
        if not (self.learns_index_with_backbone and self.learner.started):
            return self.backbone.calculate_loss(interaction)
        loss, users, items = self.loss_and_vectors(interaction)
        index_loss = self.index_loss(users, items, interaction)
        return loss + self.batch_weight(interaction) * index_loss

    def backbone_loss(self, interaction) -> Tensor:
        """The backbone's own loss as one scalar, whatever learns the index."""
        loss = self.backbone.calculate_loss(interaction)
        return sum(loss) if isinstance(loss, tuple) else loss

    def batch_weight(self, interaction) -> int:
        """Returns what HILL's means weigh beside the backbone's loss, which may sum over rows."""
        return len(interaction) if sums_over_batch(self.backbone) else 1

    def index_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """Returns the learner's ``joint_loss`` on a batch, with the backbone's ranking loss.

        The ranking loss is BPR where a backbone has no loss of pairs' scores (ENMF, NESCL's
        contrast, RecBole's own models).

        Args:
            users: User vectors, shape (U, D).
            items: Item vectors, shape (I, D).
            interaction: RecBole batch.
        """
        batch = interaction[self.USER_ID], interaction[self.ITEM_ID]
        ranking_loss = getattr(self.backbone, "ranking_loss", super().ranking_loss)
        return self.learner.joint_loss(users, items, *batch, ranking_loss)

    def loss_and_vectors(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the backbone's loss with this step's user and item vectors."""
        return loss_and_embeddings(self.backbone, interaction)

    def em_loss(self, interaction) -> Tensor:
        """The M-step: the backbone's loss plus BPR with nodes in the items' place, at every depth.

        A batch's item stands for the node above it. Pairs whose item and negative share a node
        teach nothing there and are left out.
        """
        loss, users, items = self.loss_and_vectors(interaction)
        user, item = users[interaction[self.USER_ID]], interaction[self.ITEM_ID]
        if self.NEG_ITEM_ID in interaction:
            other = interaction[self.NEG_ITEM_ID]
        else:  # a backbone that draws its own negatives
            other = torch.randint_like(item, 1, self.n_items)
        targets = []
        for depth in range(1, self.index.depth + 1):
            positive, negative = (self.nodes.of_items(i, depth) for i in (item, other))
            vectors = self.nodes.means(items, depth)
            differ = positive != negative
            if differ.any():
                scores = [(user * vectors[n]).sum(1)[differ] for n in (positive, negative)]
                targets.append(bpr(*scores))
        if not targets:
            return loss
        weight = EM_WEIGHT * self.batch_weight(interaction)
        return loss + weight * torch.stack(targets).mean()
