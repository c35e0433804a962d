"""Test-time training as stages of a run: fine-tune every arm, choose the weights.

An arm is one compared variant of a run. A control is an arm that keeps everything except the idea
under test. A pair is a user and an index node that the user is interested in.

Pairs come from train alone. The validation loader is used only to choose the epoch and to decide
whether the adapted weights are kept.
"""

import numpy as np

from recbole_hill.adapt.controls import move_toward_nodes, random_nodes, random_users
from recbole_hill.adapt.forms import training_of
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.settings import AVERAGES, UNTRAINED
from recbole_hill.run.folder import BACKBONE, CHOICE
from recbole_hill.train.arms import AFTER_EM, Arm
from recbole_hill.train.index_stage import START, IndexTrainer

ADAPTED = "adapted.safetensors"
#: Files of the weights that HILL may keep.
_WEIGHTS = {"unadapted": START, "adapted": "adapt_pairs.safetensors", "backbone": BACKBONE}
#: Share of the way to the nodes' mean that the controls ``average`` and ``average_random`` move a
#: user.
AVERAGE_WEIGHT = 0.1


def adapt(
    trainer: IndexTrainer, index: HierarchicalIndex, pairs: Pairs, train_data, valid_data
) -> list[Arm]:
    """Fine-tunes the model on the pairs of every arm, each time from the same weights.

    The arms are the controls and the selected pairs. The last arm is the arm that the run serves:
    the weights that validation prefers.

    Args:
        trainer: Trainer whose model has the index.
        index: The index.
        pairs: The selected pairs.
        train_data: RecBole's train loader.
        valid_data: RecBole's validation loader; None where the choices were made before.

    Returns:
        The arms in the order of the table.
    """
    arms = [Arm("backbone", BACKBONE, served=False)]
    if trainer.index_learner.rounds:
        arms.append(Arm(AFTER_EM, START, served=False))
    for name in (*trainer.settings.adapt_control, "pairs"):
        own = pairs_of_arm(trainer, name, index, pairs)
        if name in AVERAGES:
            arms.append(_moved(trainer, name, own))
        else:
            _fine_tune(trainer, name, own, train_data, valid_data)
            arms.append(Arm(name, f"adapt_{name}.safetensors", served=False))
    return [*arms, _choose(trainer, pairs, valid_data)]


def pairs_of_arm(trainer, arm: str, index: HierarchicalIndex, pairs: Pairs) -> Pairs:
    """Returns the pairs of an arm: the selected pairs, or the random pairs of its control."""
    rng = np.random.default_rng(trainer.config["seed"])
    if arm in ("random_nodes", "average_random", "untrained_random"):
        least = trainer.settings.min_children
        return random_nodes(pairs, index.parents, rng, min_children=least)
    return random_users(pairs, rng) if arm == "random_users" else pairs


def _moved(trainer, name: str, pairs: Pairs) -> Arm:
    """Returns a control that moves users toward their nodes, without training."""
    trainer.load_stage(START)
    trainer.model.eval()
    users, items = trainer.model.vectors()
    moved = move_toward_nodes(users, items, pairs, trainer.model.nodes, AVERAGE_WEIGHT)
    return Arm(name, START, vectors=(moved, items), served=False)


def _fine_tune(trainer, arm: str, pairs: Pairs, train_data, valid_data) -> None:
    """Trains one arm from the indexed weights, for as many steps as all other arms, or loads it."""
    stage, best = f"adapt_{arm}", f"adapt_{arm}.safetensors"
    if stage in trainer.stages:
        return
    trainer.load_stage(START)
    chosen = {} if trainer.choice is None else trainer.choice.adapt_epochs
    epochs = 0 if arm in UNTRAINED else chosen.get(arm, trainer.settings.ttt_epochs)

    with training_of(trainer, arm, pairs, train_data) as training:

        def keep_best(epoch: int) -> float | None:
            score = None if valid_data is None else trainer.valid_score(valid_data)
            first = score is None or trainer.best_epoch < 0
            if first or trainer.is_better(score, trainer.best_valid_score):
                trainer.best_epoch, trainer.best_valid_score = epoch, score
                training.save(best)
            return score

        trainer.run_stage(
            stage,
            epochs,
            training.data,
            training.loss,
            learning_rate=trainer.settings.ttt_learning_rate,
            learner="adam",
            begin_epoch=trainer.begin_backbone_epoch,
            after_epoch=keep_best,
        )
        if trainer.best_epoch < 0:  # no epochs were asked for
            keep_best(-1)
    trainer.finish_stage(stage, epochs=trainer.best_epoch + 1, valid_score=trainer.best_valid_score)


def _choose(trainer, pairs: Pairs, valid_data) -> Arm:
    """Keeps the weights that validation prefers.

    They are the adapted weights, the weights before adaptation, or, where an M-step came between,
    the backbone's. Weights are not adapted without pairs: the arm ``pairs`` was trained as
    ``continue`` then. Without validation (``refit``), the choice was made under ``holdout``. The
    stage records it.
    """
    stages = trainer.stages
    if CHOICE not in stages:
        trainer.load_stage(START)
        trainer.clock(0.0)
        unadapted = None if valid_data is None else trainer.valid_score(valid_data)
        scores = {"unadapted": unadapted}
        if len(pairs):
            scores["adapted"] = stages["adapt_pairs"]["valid_score"]
        if trainer.index_learner.rounds:
            scores["backbone"] = stages["backbone"]["valid_score"]
        kept = "unadapted"
        if valid_data is None and trainer.choice is not None:
            kept = trainer.choice.kept
        elif valid_data is not None:
            for name, score in scores.items():
                if score is not None and trainer.is_better(score, scores[kept]):
                    kept = name
        trainer.load_stage(_WEIGHTS[kept])
        trainer.finish_stage(
            CHOICE,
            save_as=ADAPTED,
            serves=True,
            kept=kept,
            valid_score=scores.get(kept),
            valid_score_unadapted=unadapted,
        )
    trainer.load_stage(ADAPTED)
    trainer.model.eval()
    trainer.saved_model_file = str(trainer.run_dir / ADAPTED)
    trainer.logger.info(f"HILL kept the {stages[CHOICE]['kept']} weights")
    return Arm(CHOICE, ADAPTED, retriever=trainer.served_retriever())
