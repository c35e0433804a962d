"""The stages of HILL in order: backbone, index, test-time training, choice.

Each stage leaves its result in the run's folder, so that a killed run continues after the last
finished one. Everything a stage learns from is the train set; the validation loader decides which
epoch and whether the adapted weights are kept, and nothing else.
"""

import json
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from recbole_hill.adapt.controls import move_toward_nodes, random_nodes, random_users
from recbole_hill.adapt.finetune import PairLoss, TestTimeTraining
from recbole_hill.adapt.interest import interest_from_lists, union
from recbole_hill.adapt.pairs import Pairs, extract_pairs
from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.evaluation.retrieval import compare_retrievers
from recbole_hill.model.settings import AVERAGES
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import STAGES, read_config
from recbole_hill.run.parent_runs import seconds_of
from recbole_hill.train.index_stage import START, IndexTrainer


class HILLTrainer(IndexTrainer):
    """Runs HILL's stages behind RecBole's ``fit`` and ``evaluate``.

    After ``fit`` the model holds the weights that HILL kept, ``model.index`` its index, ``pairs``
    the <user, node> pairs and ``arms`` the names under which :meth:`load_arm` gives back each
    compared set of weights.
    """

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


def train_history(dataset) -> sp.csr_matrix:
    """Returns who has which item in train: users with, items without the padding id, (U, I)."""
    matrix = dataset.inter_matrix(form="csr")[:, 1:].tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
