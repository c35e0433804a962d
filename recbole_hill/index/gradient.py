"""Index learners by gradient: the nodes learn from the backbone's loss on pseudo items.

References:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation."
    arXiv 2604.12965, 2026, sections 3.2 to 3.4.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import one_of, positive, require_at_least, share
from recbole_hill.index.codes import NodeUsage
from recbole_hill.index.em import METRICS, check_sizes
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule

#: Batches that the balance pools.
BALANCE_BATCHES = 8
#: Of the large matrix products of the attention; its scores are float32. Measured equal in loss.
PRECISION = torch.bfloat16
#: Items, drawn uniformly, that a batch's negatives of the index loss are taken from: each row's
#: negative is uniform, yet only so many more pseudo items have to be made.
_SHARED_NEGATIVES = 128
#: Least values of the settings; HSNN has them too.
AT_LEAST = {
    "index_weight": 0,
    "index_balance": 0,
    "index_alpha_power": 0,
    "index_epochs": 0,
    "index_warmup_epochs": 0,
}


@dataclass(frozen=True)
class GradientSettings:
    """The settings of a gradient learner; ``properties/model/HILL.yaml`` documents each."""

    index_weight: float
    index_balance: float
    index_batch: int
    index_learning_rate: float
    index_epochs: float
    index_warmup_epochs: float
    index_gradient: float
    index_revive: bool

    @classmethod
    def of(cls, settings: Mapping) -> "GradientSettings":
        """Reads and checks the settings.

        Raises:
            ValueError: Naming the key, the value and what is accepted.
        """
        least = {**AT_LEAST, "index_batch": 1, "index_learning_rate": 0}
        require_at_least(settings, least, {"index_batch"})
        share("index_gradient", settings["index_gradient"])
        return cls(**{key: settings[key] for key in cls.__dataclass_fields__})


class GradientLearner(LearnedIndex, IndexLearner):
    """Attention layers whose nodes are weights of the model that holds the learner.

    Settings: ``nodes_per_depth``, ``index_direction``, ``index_alpha``, ``index_alpha_power``,
    ``seed`` and those of :class:`GradientSettings`.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        dim: D.
        direction: ``bottom_up`` | ``top_down``.
        schedule: Of temperature and loss weight.
        settings: What the loss weighs, and how the nodes are trained.
        seed: Of the first nodes.
    """

    by_gradient = True
    #: Whether the nodes learn together with the backbone, or on its finished vectors.
    with_backbone: ClassVar[bool]
    #: Epochs of the backbone alone, before the nodes are set from data: items form first.
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
            precision=PRECISION,
        )
        self.settings, self.seed = settings, seed

    @classmethod
    def from_settings(cls, settings: Mapping, *, n_items: int, dim: int) -> "GradientLearner":
        """Reads the settings of the class's docstring."""
        if one_of("index_metric", settings["index_metric"], METRICS) == "scores":
            raise ValueError(
                "index_metric scores is for index_learning em, got "
                f"{settings['index_learning']}; there accepted is items"
            )
        direction = settings["index_direction"]
        positive("index_alpha", settings["index_alpha"])
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
        """Sets the nodes from data in the first epoch, and moves unused nodes in later ones.

        Args:
            items: Item vectors without the padding row, shape (I, D).
        """
        if not self.started:
            self.start(items, seed=self.seed)
            return
        logger = logging.getLogger()
        usage = self.usage_of(items)
        revived = self.revive(items) if self.settings.index_revive else 0
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
        """Returns the index's loss on a batch (sections 3.2 to 3.4), by its current weight.

        The loss has three terms: the backbone's ranking loss with pseudo items in the items' place,
        at every depth; the reconstruction; the balance. Pseudo items are made of at most
        ``index_batch`` items of the batch, and of a few drawn items that serve as negatives.

        Args:
            users: User vectors, shape (U, D).
            items: Item vectors with the padding row, shape (I + 1, D).
            user: User ids of the batch, shape (B,).
            item: Item ids of the batch, shape (B,).
            ranking_loss: As ``EmbeddingModel.ranking_loss``.
        """
        s = self.settings
        # The loader has shuffled: the first rows are as good as any.
        user, item = user[: s.index_batch], item[: s.index_batch]
        drawn = torch.randint(1, len(items), (_SHARED_NEGATIVES,), device=item.device)
        present, row = torch.unique(torch.cat((item, drawn)), return_inverse=True)
        positive, drawn = row.split((len(item), len(drawn)))
        negative = drawn[torch.randint_like(item, len(drawn))].unsqueeze(1)
        present_users, user = torch.unique(user, return_inverse=True)
        users, weight = users[present_users], s.index_weight * self.weight()
        # The vectors are the same; a share of the index's gradient reaches the items.
        kept = s.index_gradient
        learnt = self(kept * items[present] + (1 - kept) * items[present].detach())
        rows = user, positive, negative, present
        ranking = [ranking_loss(users, pseudo, *rows) for pseudo in learnt.at_depth]
        return weight * (
            torch.stack(ranking).mean() + learnt.reconstruction + s.index_balance * learnt.balance
        )

    def learn(
        self, vectors: Vectors, ids: Sequence[str], start: HierarchicalIndex | None = None
    ) -> HierarchicalIndex:
        """Publishes what the nodes have learnt; nodes that were never trained are fitted first.

        The nodes stay where they are: ``start`` is not used.
        """
        items = torch.from_numpy(vectors.items).to(self.step.device)
        if not self.started:
            self.fit(items, epochs=max(1, round(self.settings.index_epochs)), seed=self.seed)
        return self.publish(ids, items)

    def node_codes(self, index: HierarchicalIndex, items: np.ndarray) -> np.ndarray:
        """Returns the learner's own node numbers of items at depths 1..L, (L, I)."""
        return self.codes(torch.from_numpy(items).to(self.step.device))

    def usage(self, index: HierarchicalIndex, items: np.ndarray) -> list[NodeUsage]:
        """Returns how evenly the nodes at depths 1..L are used, unused nodes among them."""
        return self.usage_of(torch.from_numpy(items).to(self.step.device))


class JointLearner(GradientLearner):
    """The nodes learn together with the backbone, whose loss gains ``joint_loss``."""

    with_backbone = True
    first_epoch = 1


class SeparateLearner(GradientLearner):
    """The nodes learn ``joint_loss`` alone, on the vectors of a finished backbone."""

    with_backbone = False
