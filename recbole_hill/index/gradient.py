"""Index learners by gradient: the nodes learn from the backbone's loss on pseudo items.

A pseudo item is the mixture of nodes that attention makes for an item. It takes the item's place in
the loss.

References:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation." arXiv
    2604.12965, 2026, sections 3.2 to 3.4.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recbole_hill.index.codes import NodeUsage
from recbole_hill.index.em import check_sizes
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule

#: Number of batches whose assignments the balance term pools.
BALANCE_BATCHES = 8
#: Precision of the large matrix products in the attention; the scores are float32. The measured
#: loss is the same as in float32.
PRECISION = torch.bfloat16
#: Number of items from which the negatives of a batch are drawn for the index loss. They are drawn
#: uniformly. Each row's negative is still uniform, but only this many more pseudo items are
#: computed.
_SHARED_NEGATIVES = 128


@dataclass(frozen=True)
class GradientSettings:
    """Settings of a gradient learner; ``properties/model/HILL.yaml`` documents each of them."""

    index_weight: float
    index_balance: float
    index_batch: int
    index_learning_rate: float
    index_epochs: float
    index_warmup_epochs: float
    index_gradient: float
    index_start: str
    index_revive: bool

    @classmethod
    def of(cls, settings: Mapping) -> "GradientSettings":
        """Reads the settings."""
        return cls(**{key: settings[key] for key in cls.__dataclass_fields__})


class GradientLearner(LearnedIndex, IndexLearner):
    """Attention layers whose nodes are weights of the model that contains the learner.

    Settings: ``nodes_per_depth``, ``index_direction``, ``index_alpha``, ``index_alpha_power``,
    ``seed`` and the settings of :class:`GradientSettings`.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        dim: D.
        direction: ``bottom_up`` | ``top_down``.
        schedule: Schedule of the temperature and of the loss weight.
        settings: Weights of the loss terms, and settings of the training of the nodes.
        seed: Seed of the first nodes.
    """

    by_gradient = True
    #: Whether the nodes learn together with the backbone; if not, they learn on its final vectors.
    with_backbone: ClassVar[bool]
    #: Number of epochs in which the backbone trains alone, so that item vectors form before the
    #: nodes are set from them.
    first_epoch: ClassVar[int] = 0

    def __init__(
        self,
        nodes_per_depth: Sequence[int],
        dim: int,
        *,
        direction: str,
        schedule: Schedule,
        settings: GradientSettings,
        seed: int,
    ):
        super().__init__(
            nodes_per_depth,
            dim,
            direction=direction,
            schedule=schedule,
            balance_batches=BALANCE_BATCHES,
            first_nodes=settings.index_start,
            revives=settings.index_revive,
            precision=PRECISION,
        )
        self.settings, self.seed = settings, seed

    @classmethod
    def from_settings(cls, settings: Mapping, *, n_items: int, dim: int) -> "GradientLearner":
        """Reads the settings that the class lists."""
        if settings["index_metric"] == "scores":
            raise ValueError(
                "index_metric scores is for index_learning em, got "
                f"{settings['index_learning']}; there accepted is items"
            )
        direction = settings["index_direction"]
        return cls(
            check_sizes(settings["nodes_per_depth"], direction, n_items),
            dim,
            direction=direction,
            schedule=Schedule(settings["index_alpha"], settings["index_alpha_power"], 1, 0),
            settings=GradientSettings.of(settings),
            seed=settings["seed"],
        )

    def set_schedule(self, steps_per_epoch: int) -> None:
        """Tells the schedules how many steps an epoch has."""
        self.schedule = replace(
            self.schedule,
            steps=round(self.settings.index_epochs * steps_per_epoch),
            warmup_steps=round(self.settings.index_warmup_epochs * steps_per_epoch),
        )

    @torch.no_grad()
    def begin_epoch(self, items: Tensor) -> None:
        """Sets the first nodes in the first epoch, and moves unused nodes in later epochs.

        Args:
            items: Item vectors without the padding row, shape (I, D).
        """
        if not self.started:
            self.start(items, seed=self.seed)
            return
        logger = logging.getLogger()
        usage = self.usage_of(items)
        revived = self.revive(items) if self.revives else 0
        for depth, used in enumerate(usage, start=1):
            logger.info(f"index, depth {depth}: {used}")
        if revived:
            logger.info(f"index: {revived} unused nodes moved to items")

    def joint_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        item: Tensor,
        ranking_loss: Callable[..., Tensor],
    ) -> Tensor:
        """Returns the index's loss on a batch (sections 3.2 to 3.4), times its current weight.

        The loss has three terms: the backbone's ranking loss at every depth, with pseudo items in
        the place of items; the reconstruction error; the balance term. Pseudo items are made for at
        most ``index_batch`` items of the batch, and for a few drawn items that serve as negatives.

        Args:
            users: User vectors with the padding row, shape (U + 1, D).
            items: Item vectors with the padding row, shape (I + 1, D).
            user: User ids of the batch, shape (B,).
            item: Item ids of the batch, shape (B,).
            ranking_loss: Function with the arguments of ``EmbeddingModel.ranking_loss``.

        Returns:
            The loss, a scalar.
        """
        s = self.settings
        # The loader has shuffled the rows, so that the first rows are a random sample.
        user, item = user[: s.index_batch], item[: s.index_batch]
        drawn = torch.randint(1, len(items), (_SHARED_NEGATIVES,), device=item.device)
        present, row = torch.unique(torch.cat((item, drawn)), return_inverse=True)
        positive, drawn = row.split((len(item), len(drawn)))
        negative = drawn[torch.randint_like(item, len(drawn))].unsqueeze(1)
        present_users, user = torch.unique(user, return_inverse=True)
        users, ids = users[present_users], (present_users, present)

        def loss_of(pseudo: Tensor) -> Tensor:
            return ranking_loss(users, pseudo, user, positive, negative, ids)

        return self.pseudo_loss(items[present], loss_of)

    def pseudo_loss(self, vectors: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the index's loss on some items, times its current weight.

        Args:
            vectors: Vectors of the items, shape (B, D).
            loss_of: Function from pseudo items (B, D) in the items' place to the backbone's loss.

        Returns:
            The loss, a scalar.
        """
        s = self.settings
        # The vectors do not change; only a share of the index's gradient reaches the items.
        kept = s.index_gradient
        weight = s.index_weight * self.weight()
        learnt = self(kept * vectors + (1 - kept) * vectors.detach())
        losses = torch.stack([loss_of(pseudo) for pseudo in learnt.at_depth])
        return weight * (losses.mean() + learnt.reconstruction + s.index_balance * learnt.balance)

    def learn(
        self, vectors: Vectors, ids: Sequence[str], start: HierarchicalIndex | None = None
    ) -> HierarchicalIndex:
        """Publishes the nodes as an index; nodes that were never trained are fitted first.

        ``start`` is not used, because the nodes are where training left them.
        """
        items = torch.from_numpy(vectors.items).to(self.step.device)
        if not self.started:  # a joint run that ended before `first_epoch`
            logging.getLogger().info("index: the nodes were never trained; they are fitted now")
            self.fit(items, epochs=max(1, round(self.settings.index_epochs)), seed=self.seed)
        return self.publish(ids, items)

    def node_codes(self, index: HierarchicalIndex, items: np.ndarray) -> np.ndarray:
        """Returns the nodes of items at depths 1..L, as the learner numbers them, shape (L, I)."""
        return self.codes(torch.from_numpy(items).to(self.step.device))

    def usage(self, index: HierarchicalIndex, items: np.ndarray) -> list[NodeUsage]:
        """Returns how evenly the nodes at depths 1..L are used; unused nodes count."""
        return self.usage_of(torch.from_numpy(items).to(self.step.device))


class JointLearner(GradientLearner):
    """The nodes learn together with the backbone, whose loss gains the term ``joint_loss``."""

    with_backbone = True
    first_epoch = 1


class SeparateLearner(GradientLearner):
    """The nodes learn from ``joint_loss`` alone, on the vectors of a finished backbone."""

    with_backbone = False
