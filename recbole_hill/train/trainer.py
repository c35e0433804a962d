"""RecBole's trainers with resumable epochs, safe checkpoints and stages.

``trainer_for`` puts :class:`RunTrainer` before the trainer that RecBole would use for a model.
RecBole's ``fit`` and ``evaluate`` remain RecBole's; only their hooks are overridden.
"""

import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score, get_trainer, init_seed
from torch.optim import Adam
from torch.utils.tensorboard import SummaryWriter

from recbole_hill import registry
from recbole_hill.config.config import plain_settings
from recbole_hill.data.cold_users import RANK, Popularity
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import known_data, note_data
from recbole_hill.evaluation.collector import TopListCollector
from recbole_hill.evaluation.per_user import ranked_users
from recbole_hill.host.loggers import without_recboles_loggers
from recbole_hill.model.bases.embedding import inner_products
from recbole_hill.run import checkpoint
from recbole_hill.run import folder as runs
from recbole_hill.run.files import atomic_path, refuse_link
from recbole_hill.run.folder import BACKBONE, HOLDOUT, SERVES, STAGES, read_stages
from recbole_hill.run.jsonl import append_record
from recbole_hill.run.parent_runs import parent_record
from recbole_hill.run.stages import seconds_of_stages
from recbole_hill.run.tracking import Trackers
from recbole_hill.train.arms import Arm
from recbole_hill.train.divergence import diverged
from recbole_hill.train.learning_rate import LearningRateRule, set_rate
from recbole_hill.train.progress import EPOCHS, Epoch
from recbole_hill.train.refit import Choice
from recbole_hill.train.warm_start import OldRun, inherit_weights

#: Whether PyTorch has fused Adam for the CPU (since 2.4).
_FUSED_ADAM = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)

BEST = "best.safetensors"
STATE = "state.pt"


@dataclass(frozen=True)
class Validation:
    """Result of one validation in the ``backbone`` stage.

    Attributes:
        epochs: Number of epochs trained so far, including epochs before a resume.
        score: Value of ``valid_metric``.
        best: Best score of the stage so far, including this one.
        metrics: Every metric on the validation set.
        seconds: Seconds of all stages so far, including seconds before a resume.
    """

    epochs: int
    score: float
    best: float
    metrics: dict[str, float]
    seconds: float


def trainer_for(config, model) -> "RunTrainer":
    """Returns the trainer that the registry names for the model's class, or RecBole's choice.

    RecBole's trainer gets our hooks.
    """
    own = registry.trainer_of(type(model))
    base = own or get_trainer(config["MODEL_TYPE"], config["model"])
    return with_run_hooks(base)(config, model)


def with_run_hooks(base: type) -> type["RunTrainer"]:
    """Returns a RecBole trainer class with :class:`RunTrainer` before it."""
    if issubclass(base, RunTrainer):
        return base
    return type(f"Run{base.__name__}", (RunTrainer, base), {})


class RunTrainer(Trainer):
    """Hooks into RecBole's Trainer: where files go, what an epoch saves, how a run resumes.

    A run is a sequence of *stages* (``backbone``, and for HILL the M-steps and adaptations). A
    finished stage is recorded in ``stages.json``. Within a stage, every epoch begins by writing
    ``state.pt`` (weights, optimiser, all random states), so that a killed run loses only the epoch
    in progress.
    """

    #: Whether the finished run serves the weights of the ``backbone`` stage.
    ends_with_backbone: ClassVar[bool] = True

    def __init__(self, config, model):
        if not config["run_dir"]:  # started by RecBole's own run_recbole
            folder = runs.folder_of(config)
            runs.claim(folder)
            runs.write_config(folder, plain_settings(config))
            note_data(folder, None)
        config["checkpoint_dir"] = config["run_dir"]
        with without_recboles_loggers():
            super().__init__(config, model)
        self.eval_collector = TopListCollector(config)
        self.run_dir = Path(config["run_dir"])
        refuse_link(self.run_dir / "tensorboard")
        self.tensorboard = SummaryWriter(str(self.run_dir / "tensorboard"))
        noted = (self.run_dir / runs.DATA).exists()
        sha256 = known_data(self.run_dir) if noted else None
        self.trackers = Trackers.of(config, plain_settings(config), sha256)
        self.saved_model_file = str(self.run_dir / BEST)
        self.best_epoch = -1
        self.learning_rate_rule = LearningRateRule.from_config(config)
        self.stages: dict[str, dict] = read_stages(self.run_dir)
        #: Further entries for the ``warm_start`` record; the pipeline sets them, because a trainer
        #: never sees the test set.
        self.warm_start_facts: dict = {}
        #: Number of epochs of the backbone in the runs that this run continues.
        self.epochs_before = 0
        #: Called after every validation of the ``backbone`` stage.
        self.on_validation: Callable[[Validation], None] = lambda validation: None
        self._stage, self._epochs_done, self._stage_epochs = "", 0, 0
        #: Loss and seconds of the last epoch, and whether an epoch of the backbone is validated.
        self._loss: float | None = None
        self._epoch_seconds, self._validates = 0.0, False
        #: Choices of an earlier run, which this run follows.
        self.choice: Choice | None = None
        #: Whether to show a bar per epoch: on a terminal alone.
        self.show_progress = bool(config["show_progress"]) and sys.stderr.isatty()
        #: The arm (compared variant) that is evaluated; None in training, when the model's weights
        #: are used.
        self.arm: Arm | None = None
        #: The ranking for users without a train item; None if they are left out.
        self.popularity: Popularity | None = None
        self._begin_epoch: Callable[[int], None] | None = None
        #: Learning rate of each epoch up to the current weights, and up to the best weights.
        self._rates: list[float] = []
        self._best_rates: list[float] = []

    def follow(self, choice: Choice) -> None:
        """Takes over another run's choices; records the seconds of that run as ``holdout``."""
        self.choice, self.epochs = choice, choice.epochs
        if HOLDOUT not in self.stages:
            self.clock(choice.seconds)
            made = {"epochs": choice.best_epoch, "epochs_trained": choice.epochs_trained}
            self.finish_stage(HOLDOUT, **made)

    # -- stages ---------------------------------------------------------------------------------

    def fit(self, train_data, valid_data=None, **kwargs):
        """RecBole's hook: the same as :meth:`train_epochs`."""
        return self.train_epochs(train_data, valid_data)

    def train_epochs(self, train_data, valid_data):
        """Runs the ``backbone`` stage by RecBole's loop; resumes it, or loads it if finished."""
        Ids.of(train_data._dataset).save(self.run_dir)
        self.see(train_data)
        if self.config["warm_start"]:
            self.warm_start(train_data)
        if "backbone" in self.stages:
            self.load_stage(BACKBONE)
            done = self.stages["backbone"]
            self.best_valid_score, self.best_valid_result = done["valid_score"], done["valid"]
            return self.best_valid_score, self.best_valid_result
        self._begin_stage("backbone", train_data)
        if hasattr(self.model, "begin_epoch"):
            self._begin_epoch = lambda epoch: self.model.begin_epoch(self.epochs_before + epoch)
        self._validates, self._stage_epochs = valid_data is not None, self.epochs
        score, result = super().fit(
            train_data, valid_data, verbose=False, show_progress=self.show_progress
        )
        self.load_stage(BEST)
        if self.best_epoch < 0 and valid_data is not None:  # no epochs were asked for
            score, result = self._valid_epoch(valid_data)
        record = parent_record(plain_settings(self.config))
        if len(set(self._best_rates)) > 1:
            record["learning_rates"] = self._best_rates
        self.finish_stage(
            "backbone",
            save_as=BACKBONE,
            serves=self.ends_with_backbone,
            epochs=self.best_epoch + 1,
            epochs_trained=self._epochs_done,
            valid_score=None if valid_data is None else float(score),
            valid=_floats(result),
            **record,
        )
        return score, result

    def see(self, train_data) -> None:
        """Notes what evaluation needs of the train set."""
        self.eval_collector.data_collect(train_data)
        dataset = train_data._dataset
        if self.config["cold_test_users"] == RANK and dataset.of_pairs:
            self.popularity = Popularity.of(dataset)

    def warm_start(self, train_data) -> None:
        """Continues the run that ``warm_start`` names: takes over weights by user and item ids.

        A killed run does this again when it resumes, and then continues. The result is the same,
        because nothing is drawn here.
        """
        if self.needs_old_run():
            started = time.perf_counter()
            old = OldRun.load(self.config["warm_start"], self.config)
            record = inherit_weights(self.model, old, train_data._dataset)
            self.continue_index(old, train_data)
            if "warm_start" not in self.stages:
                self.clock(time.perf_counter() - started)
                record |= {"from": str(old.folder), "epochs_before": old.epochs}
                record |= {"settings_changed": old.changed_settings(self.config)}
                self.finish_stage("warm_start", **record, **self.warm_start_facts)
                self.logger.info(f"warm start: {record}")
        self.epochs_before = self.stages["warm_start"]["epochs_before"]

    def needs_old_run(self) -> bool:
        """Whether a stage still has to start from the end of the old run."""
        return "backbone" not in self.stages

    def continue_index(self, old: OldRun, train_data) -> None:
        """Takes over the old run's index, in a model that has an index."""

    def run_stage(
        self,
        stage: str,
        epochs: int,
        train_data,
        loss: Callable,
        *,
        learning_rate: float,
        learner: str | None = None,
        begin_epoch: Callable[[int], None] | None = None,
        after_epoch: Callable[[int], float | None] = lambda epoch: None,
    ) -> None:
        """Trains for further epochs on another loss with a fresh optimiser; resumes a killed stage.

        Args:
            stage: Name under which the state is kept. The stage's random numbers depend only on
                this name and on ``seed``, not on earlier stages.
            epochs: Number of epochs.
            train_data: RecBole's train loader.
            loss: Function from a RecBole batch to a scalar.
            learning_rate: Learning rate of the fresh optimiser. It is constant: ``lr_rule`` applies
                to the backbone only.
            learner: RecBole's name of the optimiser; the setting ``learner`` if None.
            begin_epoch: Called before each epoch with its number; the model's own function if None.
            after_epoch: Called after each epoch with its number; returns the score of a validation,
                or None.
        """
        self.seed_stage(stage, train_data)
        named = {} if learner is None else {"learner": learner}
        self.optimizer = self._build_optimizer(learning_rate=learning_rate, **named)
        self._begin_stage(stage, train_data)
        self._stage_epochs = epochs
        self._begin_epoch = begin_epoch or getattr(self.model, "begin_epoch", None)
        for epoch in range(self.start_epoch, epochs):
            self._train_epoch(train_data, epoch, loss, self.show_progress)
            score = after_epoch(epoch)
            self._end_epoch(score, None if score is None else self.best_valid_score)

    def seed_stage(self, stage: str, train_data) -> None:
        """Seeds every random generator from ``seed`` and the stage's name."""
        seed = zlib.crc32(f"{self.config['seed']}:{stage}".encode())
        init_seed(seed, self.config["reproducibility"])
        train_data.generator.manual_seed(seed)

    def finish_stage(
        self, stage: str, save_as: str | None = None, *, serves: bool = False, **about
    ) -> None:
        """Records a stage as finished, after its weights are safely written.

        Args:
            stage: Name of the stage.
            save_as: File for the model's weights in the run's folder; None writes no weights.
            serves: Whether the finished run serves these weights.
            about: Plain data to keep in ``stages.json`` beside the stage's seconds.
        """
        if save_as:
            self.save_model(save_as)
        if serves:
            about[SERVES] = save_as
        self.stages[stage] = {"seconds": round(self._seconds(), 2), **about}
        with atomic_path(self.run_dir / STAGES) as temporary:
            temporary.write_text(json.dumps(self.stages, indent=1), encoding="utf-8")
        (self.run_dir / STATE).unlink(missing_ok=True)

    def save_model(self, file: str) -> None:
        """Writes the model's weights to a file in the run's folder."""
        checkpoint.save_weights(self.run_dir / file, checkpoint.model_weights(self.model))

    def load_stage(self, file: str) -> None:
        """Loads the weights that a finished stage saved in the run's folder."""
        weights = checkpoint.load_weights(self.run_dir / file)
        checkpoint.set_model_weights(self.model, weights)

    def valid_score(self, valid_data) -> float:
        """Returns the validation metric of the current weights."""
        result = self.evaluate(valid_data, load_best_model=False)
        return float(calculate_valid_score(result, self.valid_metric))

    def seconds(self) -> float:
        """Returns the seconds of all stages so far, including the stage in progress."""
        return seconds_of_stages(self.stages) + self._seconds()

    # -- RecBole's hooks ------------------------------------------------------------------------

    def _build_optimizer(self, **kwargs):
        """RecBole's optimiser; Adam in PyTorch's fused form, three times as fast on a CPU."""
        optimizer = super()._build_optimizer(**kwargs)
        if isinstance(optimizer, Adam) and _FUSED_ADAM:
            for group in optimizer.param_groups:
                group["fused"] = True
        if start := self.config["adagrad_start"]:  # RecBole has no setting for this
            for state in optimizer.state.values():
                state["sum"].fill_(start)
        return optimizer

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        self._save_state(epoch_idx, train_data)  # first: beginning an epoch may draw numbers
        started, self._epochs_done = time.perf_counter(), epoch_idx + 1
        loss = self._train_one(train_data, epoch_idx, loss_func, show_progress)
        total = sum(loss) if isinstance(loss, tuple) else loss
        self._loss = None if total is None else float(total) / len(train_data)
        self._epoch_seconds = time.perf_counter() - started
        if self._stage == "backbone" and not self._is_validated(epoch_idx):
            self._end_epoch()
        return 0.0 if loss is None else loss

    def _is_validated(self, epoch: int) -> bool:
        """Whether RecBole's loop validates after an epoch."""
        return self._validates and (epoch + 1) % self.eval_step == 0

    def _end_epoch(
        self, score: float | None = None, best: float | None = None, metrics: dict | None = None
    ) -> None:
        """Says that an epoch has ended, in the log and in the file of epochs."""
        number = self._epochs_done
        epoch = Epoch(
            stage=self._stage,
            number=number,
            of=self._stage_epochs,
            loss=self._loss,
            seconds=round(self._epoch_seconds, 3),
            metrics=metrics or {},
            score=score,
            best=best,
        )
        spent = time.perf_counter() - self._started
        left = (epoch.of - number) * spent / (number - self.start_epoch)
        self.logger.info(epoch.line(self.valid_metric, left))
        append_record(self.run_dir / EPOCHS, epoch.record())
        self.trackers.epoch(epoch.record())

    def _train_one(self, train_data, epoch_idx, loss_func, show_progress):
        """Trains for one epoch; returns the sum of the batches' losses, None without a loss."""
        if self._begin_epoch is not None:
            self._begin_epoch(epoch_idx)
        if self._stage == "backbone" and hasattr(self.model, "fit_once"):
            self.model.fit_once()
            return None
        if self._stage == "backbone":
            self._set_rate(epoch_idx)
        loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        self.require_finite("weights", *self.model.parameters())
        if self._stage == "backbone":
            self.learning_rate_rule.after_epoch(self.optimizer)
        return loss

    def _check_nan(self, loss):
        """Stops at a loss that is not finite; RecBole stops at NaN alone."""
        if not bool(loss.isfinite().all()):
            raise self._diverged(f"the loss is {loss.detach().float().mean().item()}")

    def require_finite(self, what: str, *values) -> None:
        """Stops the run, with the setting to change, if a tensor has NaN or an infinite number."""
        if not all(bool(each.isfinite().all()) for each in values):
            raise self._diverged(f"{what} are not finite")

    def _diverged(self, what: str) -> ValueError:
        epoch = f"epoch {self._epochs_done - 1} of {self._stage}" if self._stage else "evaluation"
        rate = "ttt_learning_rate" if self._stage.startswith("adapt_") else "learning_rate"
        return diverged(self.config, epoch, what, rate)

    def _set_rate(self, epoch: int) -> None:
        """Sets the epoch's learning rate if one was chosen before, and records the current rate."""
        if self.choice is not None and self.choice.learning_rates:
            set_rate(self.optimizer, self.choice.learning_rates[epoch])
        self._rates.append(self.optimizer.param_groups[0]["lr"])

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        gained = self.is_better(score, self.best_valid_score)
        best = float(score if gained else self.best_valid_score)
        self.on_validation(
            Validation(self._epochs_done, float(score), best, _floats(result), self.seconds())
        )
        if self._epochs_done:
            self._end_epoch(float(score), best, _floats(result))
        if not gained:
            if self.learning_rate_rule.after_no_gain(self.optimizer):
                self.load_stage(BEST)
                self._rates = list(self._best_rates)
            # RecBole counts an equal score as a gain: a run that no longer changes would never
            # stop.
            score = float(np.nextafter(score, -np.inf if self.valid_metric_bigger else np.inf))
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        self.best_epoch, self._best_rates = epoch, list(self._rates)
        self.save_model(BEST)

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's evaluation; the weights are loaded from safetensors, not unpickled."""
        if load_best_model:
            self._load_best(model_file)
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    def _load_best(self, model_file) -> None:
        """Loads the weights that RecBole's entry points ask for: the weights of the best epoch."""
        weights = checkpoint.load_weights(Path(model_file or self.saved_model_file))
        checkpoint.set_model_weights(self.model, weights)

    def _full_sort_batch_eval(self, batched_data):
        """RecBole's scoring of a batch of users; stops at scores that are not finite."""
        interaction, scores, positive_u, positive_i = self._score_all(batched_data)
        if self.popularity is not None:
            self.popularity.replace(scores, interaction[self.model.USER_ID])
            if (seen := batched_data[1]) is not None:
                scores[seen] = -torch.inf
        self._require_scores(scores)
        return interaction, scores, positive_u, positive_i

    def _neg_sample_batch_eval(self, batched_data):
        """RecBole's scoring of pairs; stops at scores that are not finite."""
        interaction, scores, positive_u, positive_i = super()._neg_sample_batch_eval(batched_data)
        if self.popularity is not None and scores.ndim == 2:  # a ranking
            rows = torch.as_tensor(batched_data[1], device=scores.device)
            users = interaction[self.model.USER_ID]
            of_row = users.new_zeros(len(scores)).index_put((rows.to(users.device),), users)
            no_candidates = scores == -torch.inf
            self.popularity.replace(scores, of_row)[no_candidates] = -torch.inf
        self._require_scores(scores)
        return interaction, scores, positive_u, positive_i

    def _require_scores(self, scores) -> None:
        """Stops at a score that is NaN or infinite; minus infinity marks an item left out."""
        if not bool(scores.max() < torch.inf):  # the maximum is NaN if any score is
            raise self._diverged("scores are not finite")

    def _score_all(self, batched_data):
        """Scores a batch of users with the vectors and the search of the arm."""
        if self.arm is None or (self.arm.vectors is None and self.arm.retriever is None):
            return super()._full_sort_batch_eval(batched_data)
        interaction, seen, positive_u, positive_i = batched_data
        user = interaction.to(self.device)[self.model.USER_ID]
        users, items = self.arm.vectors or self.model.vectors()
        if self.arm.retriever is None:
            scores = inner_products(users[user], items)
            scores[:, 0] = -torch.inf
            if seen is not None:
                scores[seen] = -torch.inf
            return interaction, scores, positive_u, positive_i
        values, ids = self.arm.retriever.search(users[user], max(self.config["topk"]), seen)
        # Padding (-1) goes to column 0, RecBole's padding item, with score minus infinity.
        scores = values.new_full((len(user), self.tot_item_num), -torch.inf)
        scores.scatter_(1, ids.clamp_min(0), values)
        return interaction, scores, positive_u, positive_i

    # -- arms -----------------------------------------------------------------------------------

    @property
    def ranking_evaluator(self):
        """RecBole's evaluator of ranking metrics."""
        return self.evaluator

    def take(self, arm: Arm) -> None:
        """Loads an arm's weights; evaluation then uses the arm's vectors and search."""
        self.load_stage(arm.weights)
        self.model.eval()
        self.arm = arm

    def test(self, data) -> dict[str, float]:
        """Returns the test metrics of the arm that :meth:`take` loaded."""
        return dict(
            self.evaluate(data.test, load_best_model=False, show_progress=self.show_progress)
        )

    def ranked_users(self, data):
        """Returns internal ids of the users for whom :meth:`test` ranks items, (U,)."""
        return ranked_users(data.test)

    def costs(self, data) -> dict[str, dict]:
        """Returns further measurements of the current arm for its row, by name; none here."""
        return {}

    def resume_checkpoint(self, resume_file):
        """Refuses RecBole's pickled checkpoints: a run resumes from its folder."""
        raise ValueError(f"resume a run by its folder (--resume=DIR), not by {resume_file}")

    def is_better(self, score: float, than: float) -> bool:
        """Returns whether a validation score is better than another."""
        return score > than if self.valid_metric_bigger else score < than

    # -- state ----------------------------------------------------------------------------------

    def _begin_stage(self, stage: str, train_data) -> None:
        """Starts the stage's clock; a killed stage goes back to the start of its last epoch."""
        self._stage, self._started, self._spent = stage, time.perf_counter(), 0.0
        self.start_epoch, self.cur_step, self.best_epoch = 0, 0, -1
        self._epochs_done = 0
        self._rates, self._best_rates = [], []
        self.best_valid_score = -math.inf if self.valid_metric_bigger else math.inf
        path = self.run_dir / STATE
        if not path.exists():
            return
        state = checkpoint.load_state(path)
        if state.get("stage") != stage:
            return
        checkpoint.set_model_weights(self.model, state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        checkpoint.restore_random_state(state["random"], train_data)
        self.start_epoch, self._spent = state["epoch"], state["seconds"]
        for name in ("cur_step", "best_epoch", "best_valid_score", "best_valid_result"):
            setattr(self, name, state[name])
        self._rates, self._best_rates = state["rates"], state["best_rates"]
        self.logger.info(f"resuming {stage} at epoch {self.start_epoch}")

    def _save_state(self, epoch: int, train_data) -> None:
        """Writes the state that is needed to start this epoch again, bit for bit on a CPU."""
        state = {
            "stage": self._stage,
            "epoch": epoch,
            "seconds": self._seconds(),
            "model": checkpoint.model_weights(self.model),
            "optimizer": self.optimizer.state_dict(),
            "random": checkpoint.random_state(train_data),
            "cur_step": self.cur_step,
            "best_epoch": self.best_epoch,
            "best_valid_score": _float(self.best_valid_score),
            "best_valid_result": _floats(self.best_valid_result),
            "rates": self._rates,
            "best_rates": self._best_rates,
        }
        checkpoint.save_state(self.run_dir / STATE, state)

    def clock(self, seconds: float) -> None:
        """Sets the seconds that ``finish_stage`` records, for a stage that was timed elsewhere."""
        self._started, self._spent = time.perf_counter(), seconds

    def _seconds(self) -> float:
        return self._spent + time.perf_counter() - self._started


def _float(value) -> float | None:
    return None if value is None else float(value)


def _floats(result: dict | None) -> dict | None:
    return None if result is None else {name: float(value) for name, value in result.items()}
