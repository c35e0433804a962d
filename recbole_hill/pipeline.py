"""One run: data -> backbone -> index -> adapt -> retrieval -> evaluation -> report."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from recbole_hill import registry
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.data.splits import load_data, note_data
from recbole_hill.evaluation.per_user import keep_per_user, ranked_users, user_table, write_per_user
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.run import folder as runs
from recbole_hill.run.provenance import commit, provenance
from recbole_hill.train.build import build_model
from recbole_hill.train.refit import Choice, holdout_config
from recbole_hill.train.trainer import Validation, trainer_for
from recbole_hill.train.warm_start import seen_before


@dataclass(frozen=True)
class Result:
    """What a run gives back.

    Attributes:
        folder: The run's folder.
        rows: One row per compared arm, as written to ``rows.jsonl``.
        stages: Facts and seconds of each stage, as written to ``stages.json``.
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
        model: A registered model, ours or RecBole's.
        dataset: A dataset that RecBole ships or ``prepare`` wrote.
        config_files: YAML files over the defaults.
        overrides: Settings over the files.
        resume: Folder of a run to continue; its own settings are used.

    Returns:
        The rows and where everything was written.

    Raises:
        ValueError: For settings or files that do not fit, naming them.
    """
    commit()  # of the code that is loaded now, whatever becomes of the checkout meanwhile
    if resume:
        overrides = {**runs.read_config(Path(resume)), **(overrides or {}), "run_dir": resume}
    config = HillConfig(model, dataset, config_files, overrides)
    folder = runs.folder_of(config)
    if not resume:
        runs.claim(folder)
    runs.start_log(folder, config["state"])
    runs.write_config(folder, plain_settings(config))
    if theirs := registry.replaced(registry.find(config["model"])):
        logging.getLogger().info(f"{config['model']} is recbole_hill's; RecBole's runs as {theirs}")

    choice = _choose_by_holdout(config, folder) if config["protocol"] == "refit" else None
    _, data, trainer = train(config, use_validation=choice is None, choice=choice)
    rows = evaluate(config, data, trainer)
    runs.write_rows(folder, rows)
    return Result(folder, rows, trainer.stages)


def train(
    config,
    *,
    use_validation: bool,
    seal_test: bool = False,
    on_validation: Callable[[Validation], None] | None = None,
    choice: Choice | None = None,
):
    """Loads the data and runs every training stage.

    Args:
        config: Of the run; its folder is there.
        use_validation: Whether epochs and weights are chosen on validation.
        seal_test: Whether the test set is out of reach from here on: reading it raises.
        on_validation: Called after every validation of the backbone.
        choice: What was chosen before, for a run without validation.

    Returns:
        The model, the data and the trainer that ran its stages.
    """
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    keep_freed_memory()
    data = load_data(config)
    note_data(Path(config["run_dir"]), data.sha256)
    if seal_test:
        data = data.without_test()
    model = build_model(config, data)
    trainer = trainer_for(config, model)
    if on_validation is not None:
        trainer.on_validation = on_validation
    if choice is not None:
        trainer.follow(choice)
    if config["warm_start"] and "warm_start" not in trainer.stages:
        trainer.warm_start_facts = {"seen_before": seen_before(config["warm_start"], data)}
    trainer.fit(
        data.train,
        data.valid if use_validation else None,
        show_progress=bool(config["show_progress"]),
    )
    return model, data, trainer


def evaluate(config, data, trainer) -> list[dict]:
    """Reads the test set once per arm, makes the rows, and keeps the ranking metrics per user."""
    common = {
        "model": config["model"],
        "dataset": config["dataset"],
        "data_sha256": data.sha256,
        **provenance(config),
        "settings": plain_settings(config),
    }
    ranks = hasattr(trainer, "rank")  # apart from the metrics of labelled rows
    evaluator = trainer.ranking if ranks else trainer.evaluator
    rows, tables = [], []
    for arm in getattr(trainer, "arms", [config["model"]]):
        if hasattr(trainer, "load_arm"):
            trainer.load_arm(arm)
        started = time.perf_counter()
        with keep_per_user(evaluator) as values:
            metrics = trainer.evaluate(
                data.test, load_best_model=False, show_progress=bool(config["show_progress"])
            )
            if ranks:
                metrics.update(trainer.rank(data, show_progress=bool(config["show_progress"])))
        row = {
            **common,
            "arm": arm,
            "metrics": {name: float(value) for name, value in metrics.items()},
            "test_seconds": round(time.perf_counter() - started, 2),
            "stages": trainer.stages,
        }
        if hasattr(trainer, "serving_cost"):
            row["serving"] = trainer.serving_cost(data)
        if arm == "HILL":
            row["retrieval"] = trainer.retrieval_cost(data.test)
        rows.append(row)
        if values:
            users = trainer.ranked_users(data) if ranks else ranked_users(data.test)
            tables.append(user_table(arm, data.dataset, users, values))
    if tables:
        write_per_user(config["run_dir"], tables)
    return rows


def _choose_by_holdout(config, folder: Path) -> Choice:
    """Runs ``holdout`` in a sub-folder and returns what it chose."""
    inner = holdout_config(config, folder)
    Path(inner["run_dir"]).mkdir(exist_ok=True)
    runs.write_config(Path(inner["run_dir"]), plain_settings(inner))
    logging.getLogger().info("refit: choosing by holdout")
    _, _, trainer = train(inner, use_validation=True)
    choice = Choice.of(trainer.stages)
    logging.getLogger().info(f"refit: {choice.epochs} epochs")
    return choice
