"""The main job: load, train the backbone, learn the index, select pairs, adapt, evaluate.

:func:`run` opens a run's folder and calls the first and the last of the six steps; :func:`fit`
calls the four between them. A model without an index is only trained and evaluated.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.adapt.retrieval_cost import retrieval_cost
from recbole_hill.adapt.selection import select_pairs
from recbole_hill.adapt.stage import adapt
from recbole_hill.config.config import plain_settings
from recbole_hill.data import auto
from recbole_hill.data.item_file import titles_of
from recbole_hill.data.splits import Data, load_data, note_data
from recbole_hill.data.titles import save_titles
from recbole_hill.host.energy import energy_record, measured_energy
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.host.threads import set_threads
from recbole_hill.labelled.search import NetworkSearch
from recbole_hill.labelled.trainer import LabelledTrainer
from recbole_hill.model.build import build_model
from recbole_hill.model.finished import FinishedRun, needs_tables
from recbole_hill.retrieval.vector_search import VectorSearch
from recbole_hill.run import folder as runs
from recbole_hill.run.files import make_folder
from recbole_hill.run.hashes import write_hashes
from recbole_hill.run.provenance import commit
from recbole_hill.train.announce import announce, announce_folder
from recbole_hill.train.arms import Arm
from recbole_hill.train.backbone_stage import train_backbone
from recbole_hill.train.evaluate import evaluate
from recbole_hill.train.floor import floor
from recbole_hill.train.index_stage import IndexTrainer, learn_index
from recbole_hill.train.open_run import open_run, settings_of
from recbole_hill.train.refit import Choice, holdout_config
from recbole_hill.train.trainer import RunTrainer, Validation, trainer_for
from recbole_hill.train.warm_start import seen_before
from recbole_hill.train.warnings import run_warnings


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
    echo: bool = True,
) -> Result:
    """Trains, indexes, adapts and evaluates a model; continues a killed run with ``resume``.

    Args:
        model: Name of a registered model, ours or RecBole's.
        dataset: Name of a dataset that RecBole ships or that ``prepare`` wrote.
        config_files: YAML files, which win over the defaults.
        overrides: Settings, which win over the files.
        resume: Folder of a run to continue, with the settings that it has.
        echo: Whether the log is shown on standard error too; if not, its warnings are.

    Returns:
        The rows, and the folder with all output.

    Raises:
        ValueError: If a setting or a file does not fit. The message names it.
        Interrupted: At Ctrl-C, with the folder that continues the run.
    """
    commit()  # noted now: the checkout may change during the run
    config = settings_of(model, dataset, config_files, overrides, resume)
    folder = runs.folder_of(config)
    with runs.alone(folder):
        open_run(config, folder, resumed=resume is not None, echo=echo)
        announce_folder(folder)
        with (
            runs.named_when_stopped(folder),
            measured_energy(gpu=config["device"].type == "cuda") as meter,
        ):
            return _train_and_test(config, folder, None if resume else meter, echo)


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
        return [Arm(trainer.config["model"], runs.BACKBONE)]
    index = learn_index(trainer, train_data)
    pairs = select_pairs(trainer, index, train_data)
    return adapt(trainer, index, pairs, train_data, valid_data)


def load(config) -> Data:
    """Loads the data of a run; records their hash and the settings that were ``auto``."""
    set_threads(config["threads"])
    keep_freed_memory()
    settings = plain_settings(config)
    data = load_data(config)
    folder = Path(config["run_dir"])
    note_data(folder, data.sha256)
    decided = {key: config[key] for key in auto.KEYS if key in settings}
    if any(settings[key] != value for key, value in decided.items()):
        runs.write_config(folder, settings | decided)
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


def keep_for_serving(trainer: RunTrainer, arm: Arm, data: Data) -> None:
    """Keeps what lists are made of in the run's folder, where inner products make them.

    A run with an index, which explains its lists, keeps the items' titles, too.

    Args:
        trainer: Trainer of the finished stages.
        arm: The arm that is served.
        data: The run's data.
    """
    trainer.take(arm)
    run = FinishedRun(trainer.config, data, trainer.model)
    if run.is_served_by_vectors:
        run.bundle().save(trainer.run_dir)
    if run.index is not None:
        save_titles(trainer.run_dir, titles_of(trainer.config), run.item_tokens.tolist())


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


class LabelledHILLTrainer(LabelledTrainer, HILLTrainer):
    """HILL's trainer over a backbone that learns from labels: its metrics, HILL's stages.

    The arm that is served makes its lists by the search that ``retrieval`` names. All other arms
    score every item.
    """

    def costs(self, data: Data) -> dict[str, dict]:
        """Returns the cost of a request, for the arm that is served."""
        return super().costs(data) if self.arm.served else {}

    def searcher(self, name: str) -> NetworkSearch | VectorSearch:
        """Returns the model's search with the given name, for users given by their ids."""
        return self.model.search_by(name)

    def list_search(self) -> NetworkSearch | VectorSearch:
        """Returns the search that makes the arm's lists."""
        return self.model.searcher(full=not self.arm.served)

    def served_retriever(self) -> None:
        """Returns None: the model itself makes the lists."""


def _train_and_test(config, folder: Path, meter, echo: bool) -> Result:
    """Runs an opened run from its data to its rows; a resumed run has no meter of its energy."""
    if needs_tables(config):
        config["keep_tables"] = str(folder)
    choice = _choose_by_holdout(config, folder) if config["protocol"] == "refit" else None
    data = load(config)
    announce(config, data)
    trainer = build(config, data, choice=choice)
    with trainer.trackers:
        arms = fit(trainer, data.train, data.valid if choice is None else None)
        rows = _judged(config, evaluate(trainer, arms, data), data, echo)
        keep_for_serving(trainer, arms[-1], data)
        rows = [{**row, "energy": energy_record(meter)} for row in rows]
        runs.write_rows(folder, rows)
        write_hashes(folder)
        trainer.trackers.finish(rows)
    return Result(folder, rows, trainer.stages)


def _judged(config, rows: list[dict], data: Data, echo: bool) -> list[dict]:
    """Adds the run's floor and warnings to its rows; the last row is of the served arm.

    Without ``echo`` the warnings are in the log alone: the caller has the rows.
    """
    reached = floor(config, data)
    warnings = run_warnings(rows[-1], reached)
    for warning in warnings:
        logging.getLogger().log(logging.WARNING if echo else logging.INFO, f"warning: {warning}")
    return [{**row, "floor": reached, "warnings": warnings} for row in rows]


def _choose_by_holdout(config, folder: Path) -> Choice:
    """Runs ``holdout`` in a sub-folder and returns its choices."""
    inner = holdout_config(config, folder)
    make_folder(Path(inner["run_dir"]))
    runs.write_config(Path(inner["run_dir"]), plain_settings(inner))
    logging.getLogger().info("refit: choosing by holdout")
    data = load(inner)
    announce(inner, data)
    for key in auto.KEYS:
        if key in config:
            config[key] = inner[key]
    runs.write_config(folder, plain_settings(config))
    trainer = build(inner, data)
    with trainer.trackers:
        fit(trainer, data.train, data.valid)
    write_hashes(Path(inner["run_dir"]))
    choice = Choice.of(trainer.stages)
    logging.getLogger().info(f"refit: {choice.epochs} epochs")
    return choice
