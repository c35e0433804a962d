"""The stage in which a run learns its index, with the learner that ``index_learning`` names.

The index is learnt from the train set alone. The index and the weights are kept in the run's
folder. Depth 1 of the index is the nodes just above the items, depth L the coarsest nodes.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict

from torch import Tensor

from recbole_hill.data.ids import Ids
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner, Vectors
from recbole_hill.index.warm_start import OldIndex
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.vector_search import VectorSearch
from recbole_hill.run.folder import INDEX
from recbole_hill.run.stages import OWN_SECONDS
from recbole_hill.train.trainer import RunTrainer
from recbole_hill.train.warm_start import OldRun

#: File of the weights from which every arm (compared variant) of test-time training starts.
START = "indexed.safetensors"
#: Number of epochs of one M-step.
M_STEP_EPOCHS = 1


class IndexTrainer(RunTrainer):
    """RecBole's hooks for a model with an index learner; can continue the index of an old run."""

    ends_with_backbone = False
    #: Index that this run continues; None unless ``warm_start`` is set.
    old_index: OldIndex | None = None

    @property
    def index_learner(self) -> IndexLearner:
        """The model's index learner."""
        return self.model.learner

    @property
    def settings(self):
        """HILL's settings."""
        return self.model.settings

    def retriever(self, name: str, items: Tensor) -> Retriever:
        """Returns the search with the given name over the model's index, by the model's settings.

        Args:
            name: ``exact`` | ``beam`` | ``faiss``.
            items: Item vectors with the padding row, shape (I + 1, D).
        """
        settings = self.settings
        return choose_retriever(
            name,
            items,
            self.model.index,
            beam_width=settings.beam_width,
            node_score=settings.node_score,
        )

    def searcher(self, name: str) -> VectorSearch:
        """Returns the same search over the current vectors, for users given by their ids."""
        users, items = self.model.vectors()
        return VectorSearch(users.__getitem__, self.retriever(name, items))

    def served_retriever(self) -> Retriever | None:
        """Returns the search that ``retrieval`` names; None if the model itself makes the lists."""
        name = self.settings.retrieval
        return None if name == "exact" else self.retriever(name, self.model.vectors()[1])

    def begin_backbone_epoch(self, epoch: int) -> None:
        """Tells the backbone the number of its epoch, in a stage after the backbone's own stage."""
        trained = self.epochs_before + self.stages["backbone"]["epochs"]
        self.model.begin_backbone_epoch(trained + epoch)

    def _build_optimizer(self, **kwargs):
        """RecBole's optimiser, with a separate learning rate for nodes that are weights.

        The nodes' rate is relative to the scale of the vectors. With the rate of the embeddings,
        nodes that attract few items of a batch drift away from all items.
        """
        optimizer = super()._build_optimizer(**kwargs)
        if not self.index_learner.by_gradient:
            return optimizer
        nodes = list(self.index_learner.nodes)
        node_ids = {id(node) for node in nodes}
        (group,) = optimizer.param_groups
        group["params"] = [x for x in group["params"] if id(x) not in node_ids]
        options = {key: value for key, value in group.items() if key != "params"}
        optimizer.add_param_group({**options, "params": nodes, "lr": self._node_rate()})
        return optimizer

    def _node_rate(self) -> float:
        """Returns the nodes' learning rate for the current item vectors."""
        was_training = self.model.training
        self.model.eval()
        items = self.model.vectors()[1][1:].detach()
        self.model.train(was_training)
        return self.index_learner.settings.index_learning_rate * float(items.square().mean().sqrt())

    def _set_rate(self, epoch: int) -> None:
        """Sets the learning rates; the nodes' rate follows the scale of the vectors, which grow."""
        super()._set_rate(epoch)
        if len(self.optimizer.param_groups) > 1:
            others, nodes = self.optimizer.param_groups
            nodes["lr"] = self._node_rate() * others["lr"] / self.learning_rate

    def needs_old_run(self) -> bool:
        """Whether the old index is still needed, because this run's index is not learnt yet."""
        return "index" not in self.stages

    def continue_index(self, old: OldRun, train_data) -> None:
        """Takes over the old index, so that the model can be searched before it is trained.

        Nodes that are weights were loaded with the weights. Their schedules continue at the same
        epoch, also if an epoch has another number of steps now.
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
    users, items = (
        None if part is None else part[1:].detach().cpu() for part in trainer.model.vectors()
    )
    trainer.require_finite("vectors", *(part for part in (users, items) if part is not None))
    return Vectors(None if users is None else users.numpy(), items.numpy())


def learn_index(trainer: IndexTrainer, train_data) -> HierarchicalIndex:
    """Learns the index over the trained backbone's items, or loads it if the stage is finished.

    EM alternates: the learner clusters (E-step), then the backbone is trained on the nodes
    (M-step). A learner by gradient publishes nodes that learnt together with the backbone, or
    trains the nodes now, on the vectors of the finished backbone. A run that continues another run
    records the drift of the index.

    Args:
        trainer: Trainer whose backbone is trained.
        train_data: RecBole's train loader.

    Returns:
        The index. It is also set in the model and saved as ``index.npz`` in the run's folder.
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
    index, seconds = make_index(trainer, ids, None if old is None else old.start())
    for round_ in range(learner.rounds):
        _train_on_nodes(trainer, round_, train_data)
        start = index.refreshed(current_vectors(trainer).items)
        index, more = make_index(trainer, ids, start)
        seconds += more
    items = current_vectors(trainer).items
    usage = learner.usage(index, items)
    for depth, used in enumerate(usage, start=1):
        trainer.logger.info(f"index, depth {depth}: {used}")
    about = {
        "nodes_per_depth": list(index.nodes_per_depth),
        "loads": [asdict(used) for used in usage],
        "steps_per_epoch": len(train_data),
        OWN_SECONDS: True,  # older runs also counted M-steps and index_learning here
    }
    if old is not None:
        about["drift"] = old.drift(learner.node_codes(index, items))
        trainer.logger.info(f"index: drift per depth {about['drift']}")
    index.save(trainer.run_dir / INDEX)
    trainer.clock(seconds)
    trainer.finish_stage("index", save_as=START, **about)
    return index


def make_index(
    trainer: IndexTrainer, ids: Sequence[str], start: HierarchicalIndex | None = None
) -> tuple[HierarchicalIndex, float]:
    """Lets the learner make an index over the current vectors, and sets it in the model.

    Args:
        trainer: Trainer whose model gets the index.
        ids: External item ids, (I,).
        start: An index from whose nodes the learner may start.

    Returns:
        The index, and the seconds that it took.
    """
    started = time.perf_counter()
    index = trainer.index_learner.learn(current_vectors(trainer), ids, start)
    if not isinstance(index, HierarchicalIndex):
        raise ValueError(
            f"learn() of index_learning {trainer.config['index_learning']} must return a "
            f"HierarchicalIndex, got {index!r}"
        )
    trainer.model.set_index(index)
    return index, time.perf_counter() - started


def _train_on_nodes(trainer: IndexTrainer, round_: int, train_data) -> None:
    """Runs one M-step, or loads it if the stage is finished."""
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
    """Trains the nodes alone on the backbone's current vectors, or loads the trained nodes."""
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
