"""The main job: load, train the backbone, learn the index, select pairs, adapt, evaluate.

:func:`run` opens a run's folder and calls the first and the last of the six steps; :func:`fit`
calls the four between them. A model without an index is only trained and evaluated.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from recbole_hill import registry
from recbole_hill.adapt.retrieval_cost import retrieval_cost
from recbole_hill.adapt.stage import adapt, select_pairs
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.data.splits import Data, load_data, note_data
from recbole_hill.evaluation.per_user import user_table, write_per_user
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.host.per_user import keep_per_user
from recbole_hill.model.build import build_model
from recbole_hill.run import folder as runs
from recbole_hill.run.provenance import commit, provenance
from recbole_hill.train.arms import Arm
from recbole_hill.train.backbone_stage import train_backbone
from recbole_hill.train.index_stage import IndexTrainer, learn_index
from recbole_hill.train.refit import Choice, holdout_config
from recbole_hill.train.trainer import BACKBONE, RunTrainer, Validation, trainer_for
from recbole_hill.train.warm_start import seen_before

#: Settings that a resumed run may have otherwise: they change neither the data nor the weights of a
#: finished stage.
RESUMED_WITH = frozenset(
    {"beam_width", "device", "eval_memory_mb", "node_score", "retrieval", "show_progress"}
    | {"state", "threads"}
)


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        folder: The run's folder.
        rows: One row per arm (compared variant of the run), as written to ``rows.jsonl``.
        stages: Record of each stage with its seconds, as written to ``stages.json``.
    """

    folder: Path
    rows: list[dict]
    stages: dict[str, dict]


def run(
    model: str | None = None,
    dataset: str | None = None,
    *,
    config_files: list[str] | None = None,
    overrides: dict | None = None,
    resume: str | None = None,
) -> Result:
    """Trains, indexes, adapts and evaluates a model; continues a killed run with ``resume``.

    Args:
        model: Name of a registered model, ours or RecBole's.
        dataset: Name of a dataset that RecBole ships or that ``prepare`` wrote.
        config_files: YAML files, which win over the defaults.
        overrides: Settings, which win over the files.
        resume: Folder of a run to continue, with the settings that it has.

    Returns:
        The rows, and the folder with all output.

    Raises:
        ValueError: If a setting or a file does not fit. The message names it.
    """
    config, folder = _open_run(model, dataset, config_files, overrides, resume)
    choice = _choose_by_holdout(config, folder) if config["protocol"] == "refit" else None
    data = load(config)
    trainer = build(config, data, choice=choice)
    arms = fit(trainer, data.train, data.valid if choice is None else None)
    rows = evaluate(trainer, arms, data)
    runs.write_rows(folder, rows)
    return Result(folder, rows, trainer.stages)


def fit(trainer: RunTrainer, train_data, valid_data) -> list[Arm]:
    """Runs every training stage; a stage that is finished in the run's folder is loaded.

    Args:
        trainer: Trainer from :func:`build`.
        train_data: RecBole's train loader.
        valid_data: RecBole's validation loader, which chooses epochs and weights; None where they
            were chosen before.

    Returns:
        The arms, the compared variants of the run. The last arm is served.
    """
    train_backbone(trainer, train_data, valid_data)
    if not isinstance(trainer, IndexTrainer):
        return [Arm(trainer.config["model"], BACKBONE)]
    index = learn_index(trainer, train_data)
    pairs = select_pairs(trainer, index, train_data)
    return adapt(trainer, index, pairs, train_data, valid_data)


def load(config) -> Data:
    """Loads the data of a run, and records their hash in its folder."""
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    keep_freed_memory()
    data = load_data(config)
    note_data(Path(config["run_dir"]), data.sha256)
    return data


def build(
    config,
    data: Data,
    *,
    choice: Choice | None = None,
    on_validation: Callable[[Validation], None] | None = None,
) -> RunTrainer:
    """Builds the model with its seeded weights, and the trainer that runs its stages.

    Args:
        config: Configuration of the run; the run's folder exists.
        data: The run's data.
        choice: Choices of an earlier run, for a run without validation.
        on_validation: Called after every validation of the backbone.
    """
    trainer = trainer_for(config, build_model(config, data))
    if on_validation is not None:
        trainer.on_validation = on_validation
    if choice is not None:
        trainer.follow(choice)
    if config["warm_start"] and "warm_start" not in trainer.stages:
        trainer.warm_start_facts = {"seen_before": seen_before(config["warm_start"], data)}
    return trainer


def evaluate(trainer: RunTrainer, arms: list[Arm], data: Data) -> list[dict]:
    """Reads the test set once per arm, makes the rows, and keeps the ranking metrics per user.

    Args:
        trainer: Trainer of the finished stages.
        arms: The arms from :func:`fit`.
        data: The run's data.

    Returns:
        One row per arm.
    """
    config = trainer.config
    common = {
        "model": config["model"],
        "dataset": config["dataset"],
        "data_sha256": data.sha256,
        **provenance(config),
        "settings": plain_settings(config),
    }
    rows, tables = [], []
    for arm in arms:
        trainer.take(arm)
        started = time.perf_counter()
        with keep_per_user(trainer.ranking_evaluator) as values:
            metrics = trainer.test(data)
        rows.append(
            {
                **common,
                "arm": arm.name,
                "metrics": {name: float(value) for name, value in metrics.items()},
                "test_seconds": round(time.perf_counter() - started, 2),
                "stages": trainer.stages,
                **trainer.costs(data),
            }
        )
        if values:
            tables.append(user_table(arm.name, data.dataset, trainer.ranked_users(data), values))
    if tables:
        write_per_user(config["run_dir"], tables)
    return rows


class HILLTrainer(IndexTrainer):
    """HILL's trainer; with it RecBole's own entry points run the main job too."""

    #: The arms of the finished run; the last arm is served.
    arms: tuple[Arm, ...] = ()

    def fit(self, train_data, valid_data=None, **kwargs):
        """RecBole's hook: runs all stages; returns the served score and the backbone's best."""
        self.arms = tuple(fit(self, train_data, valid_data))
        self.take(self.arms[-1])
        return self.stages[self.arms[-1].name]["valid_score"], self.best_valid_result

    def costs(self, data: Data) -> dict[str, dict]:
        """Returns the cost and the index recall of the search, for the arm that is served."""
        return {"retrieval": retrieval_cost(self, data.test)} if self.arm.served else {}


def _open_run(model, dataset, config_files, overrides, resume) -> tuple[HillConfig, Path]:
    """Reads the settings, claims the run's folder, and starts its log."""
    commit()  # noted now: the checkout may change during the run
    if resume:
        own = runs.read_config(Path(resume))
        overrides = {**own, **(overrides or {}), "run_dir": resume}
    config = HillConfig(model, dataset, config_files, overrides)
    if resume:
        _require_same_settings(config, HillConfig(None, None, None, {**own, "run_dir": resume}))
    folder = runs.folder_of(config)
    if not resume:
        runs.claim(folder)
    runs.start_log(folder, config["state"])
    runs.write_config(folder, plain_settings(config))
    if other := registry.replaced(registry.find(config["model"])):
        logging.getLogger().info(f"{config['model']} is recbole_hill's; RecBole's runs as {other}")
    return config, folder


def _require_same_settings(config: HillConfig, own: HillConfig) -> None:
    """Refuses to resume a run under other settings: its finished stages would bear a false label.

    Raises:
        ValueError: Naming the setting, both values and what is accepted.
    """
    asked, of_run = plain_settings(config), plain_settings(own)
    for key in sorted((asked.keys() | of_run.keys()) - RESUMED_WITH):
        if asked.get(key) != of_run.get(key):
            raise ValueError(
                f"--resume continues a run with its own settings: {key} is {asked.get(key)!r} "
                f"here and {of_run.get(key)!r} there; accepted are other values of "
                f"{', '.join(sorted(RESUMED_WITH))}"
            )


def _choose_by_holdout(config, folder: Path) -> Choice:
    """Runs ``holdout`` in a sub-folder and returns its choices."""
    inner = holdout_config(config, folder)
    Path(inner["run_dir"]).mkdir(exist_ok=True)
    runs.write_config(Path(inner["run_dir"]), plain_settings(inner))
    logging.getLogger().info("refit: choosing by holdout")
    data = load(inner)
    trainer = build(inner, data)
    fit(trainer, data.train, data.valid)
    choice = Choice.of(trainer.stages)
    logging.getLogger().info(f"refit: {choice.epochs} epochs")
    return choice
