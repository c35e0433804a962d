"""A backbone that trains in blocks of epochs, each with a new index and its nodes as items.

A block of the kind ``plain`` trains the backbone as it is. A block of any other kind first makes an
index on the current item vectors, extracts <user, node> pairs, and trains as the arm of this name
does in test-time training, in the form that ``pair_form`` says. Afterwards the nodes are left out:
the weights of users and real items start the next block.
"""

import time
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from recbole_hill.adapt.forms import CONTINUE, training_of
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.adapt.selection import select_pairs
from recbole_hill.adapt.stage import pairs_of_arm
from recbole_hill.adapt.virtual_items import VirtualItems
from recbole_hill.data.ids import Ids
from recbole_hill.train.arms import Arm
from recbole_hill.train.index_stage import START, make_index

Vectors = tuple[Tensor, Tensor]  # of users and of real items, (U + 1, D) and (I + 1, D)

PLAIN = "plain"
METRICS = ("recall@20", "ndcg@20")
VALID = "ndcg@20"
NO_PAIRS = Pairs(*(np.zeros(0, dtype=np.int64) for _ in range(3)), rates=np.zeros(0))


@dataclass(frozen=True, eq=False)
class Reached:
    """Where a block of epochs ends.

    Attributes:
        weights: The backbone's weights, without those of nodes.
        vectors: The vectors that the backbone gives, with the nodes in its graph.
        validation: The validation metric of the vectors.
        pairs: Number of pairs.
        steps: Number of training steps of the block.
        seconds: Seconds of the block.
    """

    weights: dict[str, Tensor]
    vectors: Vectors
    validation: float
    pairs: int
    steps: int
    seconds: float


class Blocks:
    """Trains a backbone block by block at one learning rate; arms share the blocks they agree on.

    Args:
        trainer: Trainer of a HILL model with its seeded weights.
        data: The run's data.
        start: The backbone's weights before the first block.
        every: Number of epochs of a block.
        rate: The learning rate.
    """

    def __init__(self, trainer, data, start: dict[str, Tensor], *, every: int, rate: float):
        self.trainer, self.data, self.every, self.rate = trainer, data, every, rate
        self.start, self._reached = start, {}

    def reach(self, kinds: tuple[str, ...]) -> Reached:
        """Returns where blocks of these kinds, in this order, end."""
        if kinds not in self._reached:
            before = self.reach(kinds[:-1]).weights if kinds[1:] else self.start
            self._reached[kinds] = self._train(before, kinds[-1], len(kinds) - 1)
        return self._reached[kinds]

    def _train(self, weights: dict[str, Tensor], kind: str, block: int) -> Reached:
        trainer, model, started = self.trainer, self.trainer.model, time.perf_counter()
        model.backbone.load_state_dict(weights)
        arm, pairs = (CONTINUE, NO_PAIRS) if kind == PLAIN else (kind, self._pairs(kind))
        with training_of(trainer, arm, pairs, self.data.train) as training:
            trainer.run_stage(
                f"block {block}",
                self.every,
                training.data,
                training.loss,
                learning_rate=self.rate,
                begin_epoch=lambda n: model.begin_backbone_epoch(block * self.every + n),
            )
            trainer.finish_stage(f"block {block}")
            model.eval()
            vectors = tuple(part.clone() for part in model.vectors())
            reached = real_weights(model.backbone)
        valid = measured(trainer, self.data.valid, vectors)[VALID]
        steps, seconds = self.every * len(training.data), time.perf_counter() - started
        return Reached(reached, vectors, valid, len(pairs), steps, seconds)

    def _pairs(self, kind: str) -> Pairs:
        """Returns the pairs of a new index over the current item vectors."""
        trainer, train = self.trainer, self.data.train
        index, _ = make_index(trainer, Ids.of(train._dataset).items)
        return pairs_of_arm(trainer, kind, index, select_pairs(trainer, index, train))


def real_weights(backbone) -> dict[str, Tensor]:
    """Returns a copy of a backbone's weights, without those of nodes."""
    if isinstance(backbone, VirtualItems):
        return backbone.real_weights()
    return {name: value.clone() for name, value in backbone.state_dict().items()}


def measured(trainer, loader, vectors: Vectors) -> dict[str, float]:
    """Returns the metrics of user and item vectors on a validation or test set."""
    trainer.arm = Arm("", START, vectors=vectors)
    values = trainer.evaluate(loader, load_best_model=False)
    trainer.arm = None
    return {name: float(values[name]) for name in METRICS}
