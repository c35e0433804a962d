"""The forms in which pairs teach the backbone: what the training of an arm reads and changes.

``pair_form`` names the form. ``loss`` adds a loss on the pairs to the backbone's loss. ``rows``,
``vertices`` and ``vertices+rows`` make the nodes virtual items of the backbone. All arms of a run
take as many steps: where pairs are rows, the control ``continue`` has as many more rows, which are
interactions that it sees twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from recbole.data.interaction import cat_interactions

from recbole_hill.adapt.finetune import PairLoss, TestTimeTraining
from recbole_hill.adapt.pair_rows import PairRows
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.adapt.virtual_items import VirtualItems
from recbole_hill.data.loaders import train_loader
from recbole_hill.model.hill import FIXED
from recbole_hill.run.checkpoint import load_weights, save_weights
from recbole_hill.train.index_stage import START, IndexTrainer

CONTINUE = "continue"


@dataclass(frozen=True)
class Training:
    """What the training of one arm needs.

    Attributes:
        data: Loader of the training data.
        loss: Function from a batch to the loss of a step.
        save: Writes the current weights to a file of the run's folder, by its name.
    """

    data: object
    loss: Callable
    save: Callable[[str], None]


@contextmanager
def training_of(trainer: IndexTrainer, arm: str, pairs: Pairs, train_data) -> Iterator[Training]:
    """Prepares the model for the training of an arm while a block runs.

    Args:
        trainer: Trainer whose model has the index and the weights to start from.
        arm: Name of the arm; ``continue`` trains without pairs.
        pairs: The arm's pairs.
        train_data: RecBole's train loader.
    """
    settings, model = trainer.settings, trainer.model
    if arm == CONTINUE or not len(pairs):
        data = train_data
        if settings.pairs_are_rows and len(pairs):
            data = _with_repeated_rows(trainer, train_data, len(pairs))
        yield Training(data, model.backbone_loss, trainer.save_model)
    elif settings.pair_form == "loss":
        loss = pair_loss(trainer, pairs, len(train_data))
        by_interaction = settings.pair_weight == "interaction"
        tuning = TestTimeTraining(model, loss, settings.ttt_weight, by_interaction=by_interaction)
        yield Training(train_data, tuning.loss, trainer.save_model)
    else:
        virtual = VirtualItems(
            model.backbone,
            trainer.config,
            train_data._dataset,
            pairs,
            model.nodes,
            rows=settings.pairs_are_rows,
            edges=settings.pairs_are_edges,
            members=settings.vertices == "users+items",
            keep_normalisation=settings.keep_normalisation,
            node_vectors=settings.node_vectors,
        )
        data = train_loader(trainer.config, virtual.data) if settings.pairs_are_rows else train_data
        with _in_place_of_backbone(model, virtual):
            yield Training(data, model.backbone_loss, lambda file: _save_vectors(trainer, file))


def pair_loss(trainer: IndexTrainer, pairs: Pairs, steps: int) -> PairLoss | PairRows:
    """Returns the loss on pairs that the settings ask for.

    Args:
        trainer: Trainer whose model has the index.
        pairs: The pairs.
        steps: Number of training steps in an epoch.
    """
    settings, backbone = trainer.settings, trainer.model.backbone
    of_backbone = settings.pair_loss == "backbone"
    if of_backbone and hasattr(trainer.model, "loss_of_pairs"):
        return PairRows(pairs, steps)
    return PairLoss(
        pairs,
        trainer.model.nodes,
        steps,
        negatives=settings.pair_negatives,
        node_vectors=settings.node_vectors,
        by_rate=settings.pair_weighting == "rate",
        ranking_loss=backbone.ranking_loss if of_backbone else None,
        n_negatives=getattr(backbone, "n_negatives", 1),
    )


def _with_repeated_rows(trainer: IndexTrainer, train_data, n: int):
    """Returns a loader of the train set and n of its rows again, drawn with the run's seed."""
    dataset = train_data._dataset
    generator = torch.Generator().manual_seed(trainer.config["seed"])
    again = torch.randint(len(dataset), (n,), generator=generator)
    rows = cat_interactions([dataset.inter_feat, dataset.inter_feat[again]])
    return train_loader(trainer.config, dataset.copy(rows))


@contextmanager
def _in_place_of_backbone(model, virtual: VirtualItems) -> Iterator[None]:
    """Trains virtual items in the place of a HILL model's backbone while a block runs."""
    backbone, model.backbone = model.backbone, virtual
    try:
        yield
    finally:
        model.backbone = backbone


def _save_vectors(trainer: IndexTrainer, file: str) -> None:
    """Writes the weights of before, with the current vectors of users and real items as fixed."""
    trainer.model.eval()
    weights = load_weights(trainer.run_dir / START)
    vectors = dict(zip(FIXED, trainer.model.vectors(), strict=True))
    save_weights(trainer.run_dir / file, {**weights, **vectors})
