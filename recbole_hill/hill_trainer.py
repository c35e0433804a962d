"""The stages of HILL in order: backbone, index, test-time training, choice.

Each stage leaves its result in the run's folder, so that a killed run continues after the last
finished one. Everything a stage learns from is the train set; the validation loader decides which
epoch and whether the adapted weights are kept, and nothing else.
"""

import json
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from recbole_hill.adapt.finetune import PairLoss, TestTimeTraining, move_toward_nodes
from recbole_hill.adapt.interest import interest_from_lists, union
from recbole_hill.adapt.pairs import Pairs, extract_pairs, random_nodes, random_users
from recbole_hill.checkpoint import load_weights, set_model_weights
from recbole_hill.continuous import OldRun
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.evaluation.retrieval import compare_retrievers
from recbole_hill.index.carried import OldIndex
from recbole_hill.index.codes import Load, loads_of_tree
from recbole_hill.index.em import learn_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.runs import STAGES, read_config
from recbole_hill.settings import AVERAGES
from recbole_hill.starts import seconds_of
from recbole_hill.trainer import RunTrainer

INDEX = "index.npz"
START = "indexed.safetensors"  # the weights that every arm starts from


class HILLTrainer(RunTrainer):
    """Runs HILL's stages behind RecBole's ``fit`` and ``evaluate``.

    After ``fit`` the model holds the weights that HILL kept, ``model.index`` its index, ``pairs``
    the <user, node> pairs and ``arms`` the names under which :meth:`load_arm` gives back each
    compared set of weights.
    """

    #: What the index starts from in a run that continues another.
    old_index: OldIndex | None = None

    def fit(self, train_data, valid_data=None, **kwargs):
        """Trains the backbone, learns the index, adapts, and keeps what validation prefers."""
        self.show_progress = kwargs.get("show_progress", False)
        if self.settings.index_learning != "em":
            self._set_schedule(len(train_data))
        if self.config["backbone_from"] and "backbone" not in self.stages:
            self._take_backbone(Path(self.config["backbone_from"]), train_data, valid_data)
        self.model.learning_index = self.settings.index_learning == "joint"
        super().fit(train_data, valid_data, **kwargs)
        self.model.learning_index = False
        self.model.trained_epochs = self.epochs_before + self.stages["backbone"]["epochs"]
        self.learn_index(train_data)
        self.find_pairs(train_data)
        self.arms = ["backbone"]
        if self.settings.index_learning == "em" and self.settings.em_rounds:
            self.arms.append("backbone + EM")
        for control in self.settings.adapt_control:
            self.adapt(control, train_data, valid_data)
        self.adapt("pairs", train_data, valid_data)
        self.choose(valid_data)
        return self.stages["HILL"]["valid_score"], self.best_valid_result

    def _take_backbone(self, folder: Path, train_data, valid_data) -> None:
        """Starts from the weights of a finished run of the backbone on the same data.

        Raises:
            ValueError: If that run is of another model or other data, or its weights do not fit.
        """
        if self.config["warm_start"]:
            raise ValueError(
                f"backbone_from {folder} and warm_start {self.config['warm_start']} both say where "
                "the weights come from; accepted is one of them"
            )
        theirs = read_config(folder)
        if self.settings.index_learning == "joint":
            raise ValueError(
                "backbone_from gives a trained backbone, index_learning joint trains one with its "
                "index; with backbone_from accepted are em and separate"
            )
        if theirs["model"] != self.config["backbone"]:
            raise ValueError(
                f"backbone_from {folder} is a run of {theirs['model']}, "
                f"not {self.config['backbone']}"
            )
        require_same_data(folder, known_data(self.run_dir))
        weights = load_weights(folder / "backbone.safetensors")
        try:
            set_model_weights(self.model.backbone, weights)
        except RuntimeError as error:
            raise ValueError(f"the weights in {folder} do not fit: {error}") from error
        self.clock(0.0)
        self.eval_collector.data_collect(train_data)
        score = None if valid_data is None else self.valid_score(valid_data)
        facts = json.loads((folder / STAGES).read_text())["backbone"]
        self.finish_stage(
            "backbone",
            save_as="backbone.safetensors",
            epochs=facts["epochs"],
            trained_seconds=seconds_of(folder),
            valid_score=score,
            valid=facts["valid"],
            taken_from=folder.name,
            started_from=facts.get("started_from", {}),
        )

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

    # -- index ----------------------------------------------------------------------------------

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
        tokens = item_tokens(train_data._dataset)
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
        tokens = item_tokens(train_data._dataset)
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

    # -- pairs ----------------------------------------------------------------------------------

    def find_pairs(self, train_data) -> None:
        """Extracts the <user, node> pairs that qualify; from train alone."""
        started, s = time.perf_counter(), self.settings
        history = train_history(train_data._dataset)
        interests = history
        if s.interest_source != "history":
            retrieved = self._retrieved_interests(history)
            interests = retrieved if s.interest_source == "retrieved" else union(history, retrieved)
        self.pairs = extract_pairs(
            interests,
            self.model.index.parents,
            thresholds=s.interest_thresholds,
            phi_dep=s.phi_dep,
            min_children=s.min_children,
            reading=s.interest_reading,
            carry=s.interest_carry,
        )
        if s.pair_history:
            self.pairs = self.pairs.of_users(np.diff(history.indptr) <= s.pair_history)
        if "pairs" not in self.stages:
            self.clock(time.perf_counter() - started)
            self.finish_stage("pairs", per_depth=self.pairs.per_depth())
        self.logger.info(f"pairs per depth: {self.pairs.per_depth()}")

    def _retrieved_interests(self, history: sp.csr_matrix) -> sp.csr_matrix:
        """The items that the search itself finds for each user, unseen ones, label-free."""
        self.model.eval()
        users, items = self.model.vectors()
        retriever = self._retriever("beam", items)
        found = []
        for start in range(0, len(users), 1024):
            seen = history[start : start + 1024].tocoo()
            exclude = tuple(torch.from_numpy(a.astype(np.int64)) for a in (seen.row, seen.col + 1))
            _, ids = retriever.search(
                users[start : start + 1024], self.settings.interest_top_k, exclude
            )
            found.append(ids.cpu().numpy())
        lists = np.concatenate(found)
        lists[0] = -1  # the padding user is nobody
        return interest_from_lists(np.where(lists > 0, lists - 1, -1), history.shape[1])

    # -- adaptation -----------------------------------------------------------------------------

    def adapt(self, arm: str, train_data, valid_data) -> None:
        """Runs one arm from the indexed weights: ``pairs`` or a control, at equal steps."""
        self.arms.append(arm)
        if arm in AVERAGES or f"adapt_{arm}" in self.stages:
            return
        self.load_stage(START)
        pairs = self.pairs_of(arm)
        loss = None
        if arm != "continue" and len(pairs):
            loss = self.pair_loss(pairs, len(train_data))
        training = TestTimeTraining(self.model, loss, self.settings.ttt_weight)
        stage, best = f"adapt_{arm}", f"adapt_{arm}.safetensors"

        def keep_best(epoch: int) -> None:
            score = None if valid_data is None else self.valid_score(valid_data)
            if score is None or self.best_epoch < 0 or self._better(score, self.best_valid_score):
                self.best_epoch, self.best_valid_score = epoch, score
                self.save_model(best)

        self.run_stage(
            stage,
            self._adapt_epochs(arm),
            train_data,
            training.loss,
            learning_rate=self.settings.ttt_learning_rate,
            learner="adam",
            after_epoch=keep_best,
            show_progress=self.show_progress,
        )
        if self.best_epoch < 0:  # no epochs were asked for
            self.save_model(best)
        score = None if self.best_epoch < 0 else self.best_valid_score
        self.finish_stage(stage, epochs=self.best_epoch + 1, valid_score=score)

    def pairs_of(self, arm: str) -> Pairs:
        """Returns the pairs that an arm is about: the real ones, or those of its control."""
        rng = np.random.default_rng(self.config["seed"])
        if arm in ("random_nodes", "average_random"):
            parents, least = self.model.index.parents, self.settings.min_children
            return random_nodes(self.pairs, parents, rng, min_children=least)
        return random_users(self.pairs, rng) if arm == "random_users" else self.pairs

    def _adapt_epochs(self, arm: str) -> int:
        """Returns how long an arm is trained: as set, or as was chosen for it before."""
        chosen = {} if self.choice is None else self.choice.adapt_epochs
        return chosen.get(arm, self.settings.ttt_epochs)

    def pair_loss(self, pairs: Pairs, steps: int) -> PairLoss:
        """Returns the loss on pairs as the settings ask for it."""
        return PairLoss(
            pairs,
            self.model.nodes,
            steps,
            negatives=self.settings.pair_negatives,
            frozen=self.settings.node_vectors == "frozen",
            by_rate=self.settings.pair_weighting == "rate",
        )

    def choose(self, valid_data) -> None:
        """Keeps the adapted weights only if validation prefers them, and says which it kept.

        Without validation (``refit``) the choice was made under ``holdout``.
        """
        if "HILL" not in self.stages:
            self.load_stage(START)
            self.clock(0.0)
            adapted = self.stages["adapt_pairs"]["valid_score"]
            unadapted = None if valid_data is None else self.valid_score(valid_data)
            if valid_data is None:
                keep = self.choice is not None and self.choice.keeps_adapted
            else:
                keep = adapted is not None and self._better(adapted, unadapted)
            self.load_stage("adapt_pairs.safetensors" if keep else START)
            self.finish_stage(
                "HILL",
                save_as="adapted.safetensors",
                kept="adapted" if keep else "unadapted",
                valid_score=adapted if keep else unadapted,
                valid_score_unadapted=unadapted,
            )
        self.arms.append("HILL")
        self.load_stage("adapted.safetensors")
        self.saved_model_file = str(self.run_dir / "adapted.safetensors")
        self.logger.info(f"HILL kept the {self.stages['HILL']['kept']} weights")

    # -- arms -----------------------------------------------------------------------------------

    def load_arm(self, arm: str) -> None:
        """Gives the model the weights (or vectors) of one compared arm."""
        self.model.fixed_vectors = None
        files = {"backbone": "backbone", "backbone + EM": "indexed", "HILL": "adapted"}
        files |= dict.fromkeys(AVERAGES, "indexed")
        self.load_stage(f"{files.get(arm, f'adapt_{arm}')}.safetensors")
        self.model.eval()
        users, items = self.model.vectors()
        if arm in AVERAGES:
            pairs, weight = self.pairs_of(arm), self.settings.average_weight
            moved = move_toward_nodes(users, items, pairs, self.model.nodes, weight)
            self.model.fixed_vectors = (moved, items)
        self.model.retriever = None
        if arm == "HILL" and self.settings.retrieval != "exact":
            self.model.retriever = self._retriever(self.settings.retrieval, items)

    def _retriever(self, name: str, items) -> Retriever:
        """Returns the search of that name, by the model's index and settings."""
        return choose_retriever(
            name,
            items,
            self.model.index,
            beam_width=self.settings.beam_width,
            node_score=self.settings.node_score,
            faiss_probe=self.settings.faiss_probe,
        )

    def retrieval_cost(self, test) -> dict:
        """Returns index recall against exact search and the share of items scored, on test users.

        Measured is the search of ``retrieval``, or where that is exact the beam.

        Args:
            test: RecBole's full-sort test loader, for its users and the items they have seen.
        """
        users, items = self.model.vectors()
        histories = [test.uid2history_item[user] for user in test.uid_list.tolist()]
        lengths = torch.tensor([0 if seen is None else len(seen) for seen in histories])
        seen_by = torch.arange(len(histories)).repeat_interleave(lengths)
        seen = torch.cat([seen for seen in histories if seen is not None])
        name = "faiss" if self.settings.retrieval == "faiss" else "beam"
        searches = [self._retriever(each, items) for each in ("exact", name)]
        found = compare_retrievers(
            *searches, users[test.uid_list], self.config["topk"], exclude=(seen_by, seen)
        )
        return {"search": name, **found}

    def _full_sort_batch_eval(self, batched_data):
        """RecBole's scoring; through the index, with the seen items left out in the search."""
        if self.model.retriever is None:
            return super()._full_sort_batch_eval(batched_data)
        interaction, seen, positive_u, positive_i = batched_data
        user = interaction.to(self.device)[self.model.USER_ID]
        vectors = self.model.vectors()[0][user]
        found, ids = self.model.retriever.search(vectors, max(self.config["topk"]), seen)
        # Padding (-1) lands in column 0, RecBole's padding item, at minus infinity.
        scores = found.new_full((len(user), self.tot_item_num), -torch.inf)
        scores.scatter_(1, ids.clamp_min(0), found)
        return interaction, scores, positive_u, positive_i


def item_tokens(dataset) -> np.ndarray:
    """Returns the external ids of all items in RecBole's order, padding left out, shape (I,)."""
    return Ids.of(dataset).items


def train_history(dataset) -> sp.csr_matrix:
    """Returns who has which item in train: users with, items without the padding id, (U, I)."""
    matrix = dataset.inter_matrix(form="csr")[:, 1:].tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
