"""HILL: a backbone, the hierarchical index over its items, and training on index nodes.

Reference:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation."
    arXiv 2604.12965, 2026. The EM version: sections 3.5 and 3.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_hill import registry
from recbole_hill.adapt.node_vectors import NodeVectors
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.backbone import user_item_embeddings
from recbole_hill.model.base import EmbeddingModel
from recbole_hill.model.losses import bpr
from recbole_hill.settings import HillSettings


class HILL(EmbeddingModel):
    """A backbone that is searched through, and fine-tuned on, a hierarchical index.

    The model holds the backbone's weights only. The index is a value given to it by
    :class:`~recbole_hill.hill_trainer.HILLTrainer`, which runs the stages.
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
        #: Epochs that the backbone was trained for before the current stage.
        self.trained_epochs = 0
        self.index: HierarchicalIndex | None = None
        self.nodes: NodeVectors | None = None
        #: Search through this instead of scoring every item, when set (``retrieval`` not exact).
        self.retriever = None
        #: Vectors that replace the weights' own in evaluation (the ``average`` control).
        self.fixed_vectors: tuple[Tensor, Tensor] | None = None

    @property
    def trainer_class(self) -> type:
        """The trainer that runs HILL's stages."""
        from recbole_hill.hill_trainer import HILLTrainer

        return HILLTrainer

    @property
    def fit_once(self) -> Callable[[], None]:
        """The backbone's own fit; HILL has the attribute only where the backbone has it."""
        return self.backbone.fit_once

    def set_index(self, index: HierarchicalIndex) -> None:
        """Takes over an index; its nodes become targets of :meth:`em_loss` and of pairs."""
        self.index = index
        self.nodes = NodeVectors(index).to(self.device)

    def begin_epoch(self, epoch: int) -> None:
        """Passes the epoch on to the backbone, counted from the backbone's own first.

        So a backbone that warms up (NESCL) does not start its warm-up again in a later stage.
        """
        if hasattr(self.backbone, "begin_epoch"):
            self.backbone.begin_epoch(self.trained_epochs + epoch)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the backbone's vectors, (U, D) and (I, D)."""
        return user_item_embeddings(self.backbone)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors for evaluation."""
        return self.fixed_vectors if self.fixed_vectors is not None else super().vectors()

    def calculate_loss(self, interaction) -> Tensor | tuple[Tensor, ...]:
        """The backbone's own loss; the index plays no part in it."""
        return self.backbone.calculate_loss(interaction)

    def loss_and_vectors(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the backbone's loss with this step's user and item vectors, in one forward pass.

        RecBole's own models do not give their vectors away, so for them it takes a second pass.
        """
        users, items = self.user_item_embeddings()
        if isinstance(self.backbone, EmbeddingModel):
            return self.backbone.embedding_loss(users, items, interaction), users, items
        loss = self.backbone.calculate_loss(interaction)
        return (sum(loss) if isinstance(loss, tuple) else loss), users, items

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
        return loss + self.settings.em_weight * torch.stack(targets).mean()
