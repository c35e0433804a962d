"""The stage in which HILL learns its index, by EM or by gradient, or goes on with an older one.

What it learns from is the train set alone. Index and weights stay in the run's folder.
"""

import math
import time
from dataclasses import asdict, replace

import numpy as np

from recbole_hill.data.ids import Ids
from recbole_hill.index.codes import Load, loads_of_tree
from recbole_hill.index.em import learn_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.warm_start import OldIndex
from recbole_hill.train.trainer import RunTrainer
from recbole_hill.train.warm_start import OldRun

INDEX = "index.npz"
START = "indexed.safetensors"  # the weights that every arm starts from


class IndexTrainer(RunTrainer):
    """Trains a model whose ``settings`` say how an index over its items is learnt."""

    #: What the index starts from in a run that continues another.
    old_index: OldIndex | None = None

    @property
    def settings(self):
        """HILL's settings."""
        return self.model.settings

    def _build_optimizer(self, **kwargs):
        """RecBole's optimiser, with a learning rate of their own for the index's nodes.

        It is relative to the vectors' scale: at a step of the embeddings' size, nodes that few of
        a batch's items attend to drift away from all of them.
        """
        optimizer = super()._build_optimizer(**kwargs)
        if self.model.learner is None:
            return optimizer
        nodes = list(self.model.learner.nodes)
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
        return self.settings.index_learning_rate * float(items.square().mean().sqrt())

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

        Nodes learnt by gradient came with the weights; their schedules stay where they were in
        epochs, however many steps an epoch has now.
        """
        learner, books = self.model.learner, None
        if learner is not None:
            books = [nodes.detach().cpu().numpy() for nodes in learner.nodes]
            theirs = old.stages["index"].get("steps_per_epoch", len(train_data))
            learner.step.fill_(round(int(learner.step) * len(train_data) / theirs))
        tokens = Ids.of(train_data._dataset).items
        self.old_index = OldIndex.of(old.index, tokens, self._vectors()[1], books)
        self.model.set_index(self.old_index.carried)

    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns users' and items' current vectors without the padding rows, (U, D) and (I, D)."""
        self.model.eval()
        return tuple(part[1:].detach().cpu().numpy() for part in self.model.vectors())

    def learn_index(self, train_data) -> None:
        """Learns the index as ``index_learning`` says, or loads it if that is done.

        In a run that continues another, it says how far the index has moved.
        """
        tokens = Ids.of(train_data._dataset).items
        if "index" in self.stages:
            self.load_stage(START)
            self.model.set_index(HierarchicalIndex.load(self.run_dir / INDEX, items=tokens))
            return
        learn = self._by_em if self.settings.index_learning == "em" else self._by_gradient
        index, seconds, loads = learn(tokens, train_data)
        for depth, load in enumerate(loads, start=1):
            self.logger.info(f"index, depth {depth}: {load}")
        facts = {
            "nodes_per_depth": list(index.nodes_per_depth),
            "loads": [asdict(load) for load in loads],
            "steps_per_epoch": len(train_data),
        }
        if self.old_index is not None:
            facts["drift"] = self.old_index.drift(self._codes(index))
            self.logger.info(f"index: drift per depth {facts['drift']}")
        index.save(self.run_dir / INDEX)
        self.clock(seconds)
        self.finish_stage("index", save_as=START, **facts)

    def _by_em(self, tokens, train_data) -> tuple[HierarchicalIndex, float, list[Load]]:
        """Alternates E-steps (k-means over items, then nodes) and M-steps (node targets).

        The first E-step starts from the old index where there is one.
        """
        seconds, index = 0.0, None
        for round_ in range(self.settings.em_rounds + 1):
            started = time.perf_counter()
            first = round_ == 0 and self.old_index is not None
            starts = self.old_index.centres() if first else None
            index = self._cluster(tokens, previous=index, starts=starts)
            self.model.set_index(index)
            seconds += time.perf_counter() - started
            if round_ < self.settings.em_rounds:
                seconds += self._train_on_nodes(round_, train_data)
        return index, seconds, loads_of_tree(index)

    def _by_gradient(self, tokens, train_data) -> tuple[HierarchicalIndex, float, list[Load]]:
        """Publishes what the joint training learnt, or learns it now on vectors at rest."""
        started, stage, file = time.perf_counter(), "index_learning", "index_learning.safetensors"
        if self.settings.index_learning == "separate":
            if stage in self.stages:
                self.load_stage(file)
            else:
                self._learn_apart(stage, train_data)
                self.finish_stage(stage, save_as=file)
        self.model.eval()
        _, items = self.model.vectors()
        loads = self.model.learner.loads(items[1:])
        index = self.model.learner.publish(tokens, items[1:])
        self.model.set_index(index)
        return index, time.perf_counter() - started, loads

    def _learn_apart(self, stage: str, train_data) -> None:
        """Trains the nodes alone, on the backbone's vectors as they are."""
        self.model.eval()
        self.model.fixed_vectors, self.model.learning_index = self.model.vectors(), True
        self.run_stage(
            stage,
            math.ceil(self.settings.index_epochs),
            train_data,
            self.model.separate_index_loss,
            learning_rate=self.learning_rate,
            show_progress=self.show_progress,
        )
        self.model.fixed_vectors, self.model.learning_index = None, False

    def _set_schedule(self, steps_per_epoch: int) -> None:
        """Tells the index's schedules how many steps an epoch has."""
        learner, s = self.model.learner, self.settings
        learner.schedule = replace(
            learner.schedule,
            steps=round(s.index_epochs * steps_per_epoch),
            warmup_steps=round(s.index_warmup_epochs * steps_per_epoch),
        )

    def _codes(self, index: HierarchicalIndex) -> np.ndarray:
        """Returns every item's nodes at depths 1..L, (L, I): in the learner's numbers if any."""
        if self.model.learner is not None:
            return self.model.learner.codes(self.model.vectors()[1][1:])
        return np.stack([index.assignments(depth) for depth in range(1, index.depth + 1)])

    def _cluster(self, tokens, previous, starts) -> HierarchicalIndex:
        users, items = self._vectors()
        return learn_index(
            items,
            tokens,
            list(self.settings.nodes_per_depth),
            direction=self.settings.index_direction,
            seed=self.config["seed"],
            iterations=self.settings.kmeans_iterations,
            points_per_node=self.settings.kmeans_points_per_node,
            progress=self.show_progress,
            previous=previous,
            starts=starts,
            user_vectors=users if self.settings.index_metric == "scores" else None,
        )

    def _train_on_nodes(self, round_: int, train_data) -> float:
        """Runs one M-step, or loads it if it is done; returns its seconds."""
        stage, file = f"em_{round_}", f"em_{round_}.safetensors"
        if stage in self.stages:
            self.load_stage(file)
        else:
            self.run_stage(
                stage,
                self.settings.em_epochs,
                train_data,
                self.model.em_loss,
                learning_rate=self.learning_rate,
                show_progress=self.show_progress,
            )
            self.finish_stage(stage, save_as=file)
        return self.stages[stage]["seconds"]
