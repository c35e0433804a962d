"""The stage that trains a model, or takes its weights over from a finished run."""

from pathlib import Path

from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import BACKBONE, STAGES, read_config, read_stages
from recbole_hill.run.hashes import require_unchanged
from recbole_hill.run.parent_runs import training_seconds
from recbole_hill.train.index_stage import IndexTrainer
from recbole_hill.train.trainer import RunTrainer


def train_backbone(trainer: RunTrainer, train_data, valid_data) -> None:
    """Trains the model by RecBole's loop; for HILL, trains its backbone or takes it over.

    Args:
        trainer: Trainer whose model is trained.
        train_data: RecBole's train loader.
        valid_data: RecBole's validation loader; None where the number of epochs was chosen before.
    """
    if isinstance(trainer, IndexTrainer):
        model = trainer.model
        if model.learner.by_gradient:
            model.learner.set_schedule(len(train_data))
        parent = trainer.config["backbone_from"]
        if parent and "backbone" not in trainer.stages:
            _inherit_backbone(trainer, Path(parent), train_data, valid_data)
    trainer.train_epochs(train_data, valid_data)


def _inherit_backbone(trainer: IndexTrainer, folder: Path, train_data, valid_data) -> None:
    """Starts from the weights of a finished run of the backbone on the same data.

    Raises:
        ValueError: If the finished run is of another model or other data, or its weights do not
            fit.
    """
    if trainer.config["warm_start"]:
        raise ValueError(
            f"backbone_from {folder} and warm_start {trainer.config['warm_start']} both say where "
            "the weights come from; accepted is one of them"
        )
    parent = read_config(folder)
    if trainer.model.learns_index_with_backbone:
        raise ValueError(
            f"backbone_from gives a trained backbone, index_learning "
            f"{trainer.config['index_learning']} trains one with its index; with backbone_from "
            "accepted are em, separate and every learner that does not train with the backbone"
        )
    if parent["model"] != trainer.config["backbone"]:
        raise ValueError(
            f"backbone_from {folder} is a run of {parent['model']}, "
            f"not {trainer.config['backbone']}"
        )
    require_same_data(folder, known_data(trainer.run_dir))
    require_unchanged(folder, BACKBONE, STAGES)
    weights = load_weights(folder / BACKBONE)
    try:
        set_model_weights(trainer.model.backbone, weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {folder} do not fit: {error}") from error
    trainer.clock(0.0)
    trainer.see(train_data)
    score = None if valid_data is None else trainer.valid_score(valid_data)
    trained = read_stages(folder)["backbone"]
    trainer.finish_stage(
        "backbone",
        save_as=BACKBONE,
        epochs=trained["epochs"],
        trained_seconds=training_seconds(folder),
        valid_score=score,
        valid=trained["valid"],
        taken_from=folder.name,
        started_from=trained.get("started_from", {}),
    )
