"""The stage in which a run learns its index: by the learner that ``index_learning`` names.

The index is learnt from the train set alone. Index and weights stay in the run's folder.
"""

import math
import time
from dataclasses import asdict

from recbole_hill.data.ids import Ids
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.warm_start import OldIndex
from recbole_hill.run.stages import OWN_SECONDS
from recbole_hill.train.trainer import RunTrainer
from recbole_hill.train.warm_start import OldRun

INDEX = "index.npz"
#: The weights that every arm of test-time training starts from.
START = "indexed.safetensors"
#: Epochs of one M-step.
M_STEP_EPOCHS = 1


class IndexTrainer(RunTrainer):
    """RecBole's hooks for a model with an index learner, and what it takes over of an old index."""

    ends_with_backbone = False
    #: The index that this run continues; None unless ``warm_start`` is set.
    old_index: OldIndex | None = None

    @property
    def index_learner(self) -> IndexLearner:
        """The model's index learner."""
        return self.model.learner

    @property
    def settings(self):
        """HILL's settings."""
        return self.model.settings

    def begin_backbone_epoch(self, epoch: int) -> None:
        """Tells the backbone which of its epochs starts in a stage after its own."""
        trained = self.epochs_before + self.stages["backbone"]["epochs"]
        self.model.begin_backbone_epoch(trained + epoch)

    def _build_optimizer(self, **kwargs):
        """RecBole's optimiser, with a learning rate of their own for nodes that are weights.

        The rate is relative to the vectors' scale: at a step of the embeddings' size, nodes that
        few items of a batch attend to drift away from all items.
        """
        optimizer = super()._build_optimizer(**kwargs)
        if not self.index_learner.by_gradient:
            return optimizer
        nodes = list(self.index_learner.nodes)
        ours = {id(node) for node in nodes}
        (group,) = optimizer.param_groups
        group["params"] = [x for x in group["params"] if id(x) not in ours]
        options = {key: value for key, value in group.items() if key != "params"}
        optimizer.add_param_group({**options, "params": nodes, "lr": self._node_rate()})
        return optimizer

    def _node_rate(self) -> float:
        """Returns the nodes' learning rate for item vectors as they are."""
        was_training = self.model.training
        self.model.eval()
        items = self.model.vectors()[1][1:].detach()
        self.model.train(was_training)
        return self.index_learner.settings.index_learning_rate * float(items.square().mean().sqrt())

    def _set_rate(self, epoch: int) -> None:
        """Lets the nodes' learning rate follow the vectors, which grow from small beginnings."""
        super()._set_rate(epoch)
        if len(self.optimizer.param_groups) > 1:
            others, nodes = self.optimizer.param_groups
            nodes["lr"] = self._node_rate() * others["lr"] / self.learning_rate

    def needs_old_run(self) -> bool:
        """Whether the index is still to be learnt from where the old one stood."""
        return "index" not in self.stages

    def continue_index(self, old: OldRun, train_data) -> None:
        """Takes over the old index: the model can be searched before it is trained.

        Nodes that are weights came with the weights. Their schedules stay where they were in
        epochs, however many steps an epoch has now.
        """
        nodes = None
        if self.index_learner.by_gradient:
            nodes = [part.detach().cpu().numpy() for part in self.index_learner.nodes]
            old_steps = old.stages["index"].get("steps_per_epoch", len(train_data))
            self.index_learner.step.fill_(
                round(int(self.index_learner.step) * len(train_data) / old_steps)
            )
        ids = Ids.of(train_data._dataset).items
        self.old_index = OldIndex.of(old.index, ids, current_vectors(self).items, nodes)
        self.model.set_index(self.old_index.carried)


def current_vectors(trainer: IndexTrainer) -> Vectors:
    """Returns the model's current vectors without the padding rows."""
    trainer.model.eval()
    return Vectors(*(part[1:].detach().cpu().numpy() for part in trainer.model.vectors()))


def learn_index(trainer: IndexTrainer, train_data) -> HierarchicalIndex:
    """Learns the index over the trained backbone's items, or loads it if that is done.

    EM alternates: the learner clusters (E-step), the backbone is trained on the nodes (M-step). A
    learner by gradient publishes what its nodes have learnt with the backbone, or trains them now,
    on the vectors of the finished backbone. A run that continues another says how far the index
    has moved.

    Args:
        trainer: Whose backbone is trained.
        train_data: RecBole's train loader.

    Returns:
        The index; the model has it too, and ``index.npz`` in the run's folder.
    """
    ids = Ids.of(train_data._dataset).items
    if "index" in trainer.stages:
        trainer.load_stage(START)
        index = HierarchicalIndex.load(trainer.run_dir / INDEX, items=ids)
        trainer.model.set_index(index)
        return index
    learner, old = trainer.index_learner, trainer.old_index
    if learner.by_gradient and not learner.with_backbone:
        _train_nodes(trainer, train_data)
    index, seconds = _learn(trainer, ids, None if old is None else old.start())
    for round_ in range(learner.rounds):
        _train_on_nodes(trainer, round_, train_data)
        start = index.refreshed(current_vectors(trainer).items)
        index, more = _learn(trainer, ids, start)
        seconds += more
    items = current_vectors(trainer).items
    usage = learner.usage(index, items)
    for depth, used in enumerate(usage, start=1):
        trainer.logger.info(f"index, depth {depth}: {used}")
    about = {
        "nodes_per_depth": list(index.nodes_per_depth),
        "loads": [asdict(used) for used in usage],
        "steps_per_epoch": len(train_data),
        OWN_SECONDS: True,  # runs of before counted those of M-steps and index_learning here too
    }
    if old is not None:
        about["drift"] = old.drift(learner.node_codes(index, items))
        trainer.logger.info(f"index: drift per depth {about['drift']}")
    index.save(trainer.run_dir / INDEX)
    trainer.clock(seconds)
    trainer.finish_stage("index", save_as=START, **about)
    return index


def _learn(trainer: IndexTrainer, ids, start) -> tuple[HierarchicalIndex, float]:
    """Asks the learner for an index, gives it to the model, and returns it with its seconds."""
    started = time.perf_counter()
    index = trainer.index_learner.learn(current_vectors(trainer), ids, start)
    trainer.model.set_index(index)
    return index, time.perf_counter() - started


def _train_on_nodes(trainer: IndexTrainer, round_: int, train_data) -> None:
    """Runs one M-step, or loads it if it is done."""
    stage, file = f"em_{round_}", f"em_{round_}.safetensors"
    if stage in trainer.stages:
        trainer.load_stage(file)
        return
    trainer.run_stage(
        stage,
        M_STEP_EPOCHS,
        train_data,
        trainer.model.em_loss,
        begin_epoch=trainer.begin_backbone_epoch,
        learning_rate=trainer.learning_rate,
    )
    trainer.finish_stage(stage, save_as=file)


def _train_nodes(trainer: IndexTrainer, train_data) -> None:
    """Trains the nodes alone on the backbone's vectors as they are, or loads what that gave."""
    stage, file = "index_learning", "index_learning.safetensors"
    if stage in trainer.stages:
        trainer.load_stage(file)
        return
    model = trainer.model
    model.eval()
    users, items = model.vectors()

    def begin_epoch(epoch: int) -> None:
        model.eval()  # RecBole's loop switches back to training
        trainer.index_learner.begin_epoch(items[1:])

    trainer.run_stage(
        stage,
        math.ceil(trainer.index_learner.settings.index_epochs),
        train_data,
        lambda interaction: model.index_loss(users, items, interaction),
        begin_epoch=begin_epoch,
        learning_rate=trainer.learning_rate,
    )
    trainer.finish_stage(stage, save_as=file)
