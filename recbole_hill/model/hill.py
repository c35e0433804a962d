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
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.node_vectors import NodeVectors
from recbole_hill.index.schedules import Schedule
from recbole_hill.model.backbone import loss_and_embeddings, sums_over_batch, user_item_embeddings
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.losses import bpr
from recbole_hill.model.settings import HillSettings

#: Items, drawn uniformly, that a batch's negatives of the index loss are taken from: each row's
#: negative is uniform, yet only so many more pseudo items have to be made.
_SHARED_NEGATIVES = 128


class HILL(EmbeddingModel):
    """A backbone that is searched through, and fine-tuned on, a hierarchical index.

    The model holds the backbone's weights and, where the index is learnt by gradient, the nodes.
    The published index is a value given to it by
    :class:`~recbole_hill.adapt.stage.HILLTrainer`, which runs the stages.
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
        #: The layers that learn an index by gradient; None where EM learns it.
        self.learner: LearnedIndex | None = None
        #: Whether the current stage trains them.
        self.learning_index = False
        if self.settings.index_learning != "em":
            self._check_learning(config["backbone"])
            self.learner = learned_index(self.settings, self._dim())
            self.seed = config["seed"]
        #: Epochs that the backbone was trained for before the current stage.
        self.trained_epochs = 0
        self.index: HierarchicalIndex | None = None
        self.nodes: NodeVectors | None = None
        #: Search through this instead of scoring every item, when set (``retrieval`` not exact).
        self.retriever = None
        #: Vectors that replace the weights' own: the ``average`` controls' in evaluation, the
        #: backbone's while an index is learnt apart from it.
        self.fixed_vectors: tuple[Tensor, Tensor] | None = None

    @staticmethod
    def trainer_class() -> type:
        """The trainer that runs HILL's stages."""
        from recbole_hill.adapt.stage import HILLTrainer

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
        if self.learning_index and (self.learner.started or epoch >= self.index_start):
            self._begin_index_epoch()

    @property
    def index_start(self) -> int:
        """The epoch in which the nodes are set from data: joint learning lets items form first."""
        s = self.settings
        return s.index_start_epoch if s.index_learning == "joint" else 0

    @torch.no_grad()
    def _begin_index_epoch(self) -> None:
        """Sets the nodes from data in the first epoch, then looks after their load."""
        self.eval()  # RecBole's loop switches back to training
        items = self.vectors()[1][1:]
        if not self.learner.started:
            self.learner.start(items, seed=self.seed)
            return
        loads = self.learner.loads(items)
        revived = self.learner.revive(items) if self.settings.index_revive else 0
        for depth, load in enumerate(loads, start=1):
            self.logger.info(f"index, depth {depth}: {load}")
        if revived:
            self.logger.info(f"index: {revived} unused nodes moved to items")

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the backbone's vectors, (U, D) and (I, D)."""
        return user_item_embeddings(self.backbone)

    def _check_learning(self, backbone: str) -> None:
        if self.settings.index_learning == "joint" and hasattr(self.backbone, "fit_once"):
            raise ValueError(
                f"index_learning joint needs a backbone that trains by epochs, and {backbone} is "
                "fitted at once; accepted are em and separate"
            )

    @torch.no_grad()
    def _dim(self) -> int:
        """Returns D, which some backbones make of several settings."""
        return self.user_item_embeddings()[1].shape[1]

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors for evaluation."""
        return self.fixed_vectors if self.fixed_vectors is not None else super().vectors()

    def calculate_loss(self, interaction) -> Tensor | tuple[Tensor, ...]:
        """The backbone's own loss and, where the index is learnt jointly, the index's."""
        if not (self.learning_index and self.learner.started):
            return self.backbone.calculate_loss(interaction)
        loss, users, items = self.loss_and_vectors(interaction)
        index_loss = self.index_loss(users, items, interaction)
        return loss + self.batch_weight(interaction) * index_loss

    def batch_weight(self, interaction) -> int:
        """Returns what HILL's means weigh beside the backbone's loss, which may sum over rows."""
        return len(interaction) if sums_over_batch(self.backbone) else 1

    def separate_index_loss(self, interaction) -> Tensor:
        """The index's loss alone, on ``fixed_vectors``."""
        return self.index_loss(*self.fixed_vectors, interaction)

    def index_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """What learning the index adds, by its current weight (sections 3.2 to 3.4).

        The backbone's ranking loss with pseudo items in the items' place, at every depth; the
        reconstruction; the balance. Pseudo items are made of the items of at most ``index_batch``
        rows and of a few drawn ones that serve as negatives, never of all.

        Args:
            users: User vectors, shape (U, D).
            items: Item vectors, shape (I, D).
            interaction: RecBole batch.
        """
        s = self.settings
        # The loader has shuffled: the first rows are as good as any.
        user, item = (interaction[key][: s.index_batch] for key in (self.USER_ID, self.ITEM_ID))
        drawn = torch.randint(1, self.n_items, (_SHARED_NEGATIVES,), device=item.device)
        present, row = torch.unique(torch.cat((item, drawn)), return_inverse=True)
        positive, drawn = row.split((len(item), len(drawn)))
        negative = drawn[torch.randint_like(item, len(drawn))].unsqueeze(1)
        present_users, user = torch.unique(user, return_inverse=True)
        users, weight = users[present_users], s.index_weight * self.learner.weight()
        # The same vectors; of the index's gradient a share goes on to them.
        share = s.index_gradient
        learnt = self.learner(share * items[present] + (1 - share) * items[present].detach())
        # BPR where a model has no loss of pairs' scores (ENMF, NESCL's contrast, RecBole's own).
        ranking_loss = getattr(self.backbone, "ranking_loss", super().ranking_loss)
        rows = user, positive, negative, present
        ranking = [ranking_loss(users, pseudo, *rows) for pseudo in learnt.at_depth]
        return weight * (
            s.index_supervision * torch.stack(ranking).mean()
            + s.index_reconstruction * learnt.reconstruction
            + s.index_balance * learnt.balance
        )

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
        weight = self.settings.em_weight * self.batch_weight(interaction)
        return loss + weight * torch.stack(targets).mean()


def learned_index(settings: HillSettings, dim: int) -> LearnedIndex:
    """Returns the layers that the settings ask for; the trainer sets their schedule's steps."""
    return LearnedIndex(
        settings.nodes_per_depth,
        dim,
        direction=settings.index_direction,
        schedule=Schedule(settings.index_alpha, settings.index_alpha_power, 1, 0),
        balance_batches=settings.index_balance_batches,
        precision=getattr(torch, settings.index_precision),
    )
