"""Online training (HSNN, section 2): a stream of impressions, cut into slices in time order.

Each slice is evaluated before the model trains on it (progressive validation). At that time the
model knows labels and histories from older slices only. A snapshot (weights and index) is saved
after each slice.
"""

import json
import logging
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from recbole.data.utils import get_dataloader
from torch import Tensor
from tqdm import tqdm

from recbole_hill import registry
from recbole_hill.checks import is_integer
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.data.auto import Size, resolve
from recbole_hill.data.features import require_features
from recbole_hill.data.rows import sort_by_time
from recbole_hill.data.splits import (
    create_dataset,
    interactions_sha256,
    note_data,
    require_files,
)
from recbole_hill.host.threads import set_threads
from recbole_hill.index.codes import drift, matched
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled.model import LabelledModel
from recbole_hill.model.build import build_model
from recbole_hill.run import folder as runs
from recbole_hill.run.files import atomic_path, make_folder
from recbole_hill.run.hashes import (
    add_hashes,
    changed_files,
    forget_hashes,
    require_unchanged,
    write_hashes,
)
from recbole_hill.run.provenance import commit, provenance
from recbole_hill.train.trainer import trainer_for

SLICES = "slices.jsonl"
#: Settings that may change when a stream is continued.
_FREE = {"threads", "show_progress", "state"}


@dataclass(frozen=True)
class Slice:
    """Record of one slice.

    Attributes:
        number: Number of the slice, from 0; slice 0 is not evaluated.
        rows: Number of impressions.
        metrics: Metrics of the slice, predicted before training on it; empty for slice 0.
        items: Number of items that the snapshot after this slice serves.
        added: Number of served items that the previous snapshot did not serve.
        deleted: Number of items that the previous snapshot served and this one does not.
        drift: Share of the items in both snapshots whose node changed, at depths 1..L (depth 1 is
            the nodes just above the items); empty without an index.
        seconds: Seconds of training on the slice. For HSNN's slice 0, the epochs that train the
            item layer alone are not included.
    """

    number: int
    rows: int
    metrics: dict[str, float]
    items: int
    added: int
    deleted: int
    drift: list[float]
    seconds: float


def run_stream(
    model: str,
    dataset: str,
    *,
    slices: int,
    keep: int | None = None,
    overrides: dict | None = None,
    config_files: list[str] | None = None,
) -> list[Slice]:
    """Trains a model on a dataset's impressions in time order, slice by slice.

    A killed stream continues when it is called again with the same ``run_dir``. It does not train
    again on finished slices. Each slice starts with a fresh optimiser. Before slice 0, HSNN's item
    layer is trained alone on that slice (``item_epochs``), so that the index starts from trained
    embeddings.

    Lists, clusters and representative items (the item that stands for a node) contain only items
    that were shown so far and are not deleted. Features of users and items come from their files
    and do not change with time. The base rates, the scales of numbers and the leak check come from
    slice 0.

    Args:
        model: MoNN, TTSN, EBR or HSNN.
        dataset: Name of a dataset with times and labels.
        slices: Number of slices; all have the same number of rows, up to rounding.
        keep: An item is deleted after this many slices in which it is not shown; None keeps all
            items.
        overrides: Settings; ``epochs`` is the number of epochs per slice (default 1).
        config_files: YAML files; the overrides win over them.

    Returns:
        One record per slice. ``slices.jsonl`` contains the records and their provenance.

    Raises:
        ValueError: If the model is not a model of labelled impressions, the dataset has no times,
            or a setting does not fit.
    """
    commit()  # noted now: the checkout may change during the run
    if not issubclass(registry.find(model).load(), LabelledModel):
        raise ValueError(f"a stream trains MoNN, TTSN, EBR or HSNN, got {model}")
    given = {"epochs": 1, "vocabulary": "catalogue", **(overrides or {})}
    for key, number, least in (("slices", slices, 2), ("keep", 1 if keep is None else keep, 1)):
        if not is_integer(number) or number < least:
            raise ValueError(f"{key} must be an integer of at least {least}, got {number!r}")
    config = HillConfig(model, dataset, config_files, given)
    if config["distill_from"]:
        raise ValueError(
            f"a stream takes no teacher, got distill_from={config['distill_from']}: a finished run "
            "has learnt from rows that are later"
        )
    if config["lr_rule"] != "constant":
        raise ValueError(
            f"a stream trains every slice at one learning rate: lr_rule must be constant, got "
            f"{config['lr_rule']!r}"
        )
    require_files(config)
    require_features(config)
    folder = runs.folder_of(config)
    with runs.alone(folder):
        _open(config, folder, {"slices": slices, "keep": keep})
        return _train_slices(config, folder, slices, keep)


def _train_slices(config, folder: Path, slices: int, keep: int | None) -> list[Slice]:
    """Trains on every slice that is left, and returns the record of each slice."""
    set_threads(config["threads"])
    parts = slices_of(config, slices)
    sha256 = interactions_sha256(*map(OneDataset, parts))
    note_data(folder, sha256)
    resolve(config, Size.of(parts[0]))
    common = {"model": config["model"], "dataset": config["dataset"], "data_sha256": sha256}
    trained = build_model(config, OneDataset(parts[0]))
    trainer = trainer_for(config, trained)
    trainer.show_progress = False  # the stream shows its own bar
    bar = tqdm(range(slices), unit="slice", disable=not config["show_progress"] or None)
    last_shown: dict[int, int] = {}
    records, lines, before = [], [], None
    for number in bar:
        part = parts[number]
        rows = part.inter_feat
        loader = get_dataloader(config, "train")(config, part, None, shuffle=True)
        last_shown |= dict.fromkeys(rows[trained.ITEM_ID].tolist(), number)
        stage = slice_name(number)
        file = f"{stage}.safetensors"
        if stage in trainer.stages:
            trainer.load_stage(file)
            metrics = trainer.stages[stage]["metrics"]
        else:
            metrics = dict(trainer.evaluate(loader, load_best_model=False)) if number else {}
            alive = [i for i, n in last_shown.items() if keep is None or number - n < keep]
            trained.serve(torch.tensor(alive))
            _train(trainer, stage, loader)
            # Recorded per slice: a continued stream may train its slices with different code.
            origin = provenance(config)
            trainer.finish_stage(stage, save_as=file, metrics=metrics, provenance=origin)
        remember_history(trained, parts[: number + 1])
        served = _publish(folder, number, trained)
        record = _record(number, len(rows), metrics, served, before, trainer.stages[stage])
        records.append(record)
        origin = trainer.stages[stage].get("provenance", {})  # older streams did not record it
        lines.append(json.dumps({**common, **origin, **asdict(record)}) + "\n")
        before = served
        logging.getLogger().info(f"slice {number}: {record}")
        bar.set_postfix_str(f"ne {metrics.get('ne', float('nan')):.4f}")
        with atomic_path(folder / SLICES) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        add_hashes(folder, [file, SLICES])
    write_hashes(folder)
    return records


def slice_name(number: int) -> str:
    """Returns the stage of a slice, which is also the stem of its weights file."""
    return f"slice_{number}"


def _open(config, folder: Path, cut: dict) -> None:
    """Opens the stream's folder; a stream with the same settings and slices is continued.

    With other slices, the model would be evaluated on rows that it has been trained on.
    """
    settings = plain_settings(config)
    if (folder / runs.CONFIG).exists():
        if changed := set(changed_files(folder)) - {SLICES}:  # the slices are noted anew
            require_unchanged(folder, min(changed))
        stored = {
            **runs.read_config(folder),
            **runs.read_stream(folder),
        }
        current = {**settings, **cut}
        changed = sorted(key for key in current.keys() - _FREE if current[key] != stored.get(key))
        if changed:
            raise ValueError(
                f"run_dir {folder} holds a stream of other settings: {changed[0]} is "
                f"{current[changed[0]]!r} here and {stored.get(changed[0])!r} there"
            )
    folder.mkdir(parents=True, exist_ok=True)
    forget_hashes(folder)
    with atomic_path(folder / runs.STREAM) as temporary:
        temporary.write_text(json.dumps(cut), encoding="utf-8")
    runs.write_config(folder, settings)
    runs.start_log(folder, config["state"])


@dataclass(frozen=True)
class OneDataset:
    """A dataset in the place of a run's data and of a loader, as ``build_model`` reads them."""

    _dataset: object

    @property
    def train(self):
        """The object itself, in the place of the train loader."""
        return self


def slices_of(config, n_slices: int) -> list:
    """Returns the dataset's impressions in time order, cut into parts of equal size.

    Args:
        config: The stream's configuration.
        n_slices: Number of parts.

    Returns:
        RecBole datasets, one per slice.
    """
    config["benchmark_filename"] = None
    whole = create_dataset(config)
    if whole.time_field not in whole.inter_feat:
        raise ValueError(
            f"a stream needs times: TIME_FIELD {whole.time_field!r} is not among the columns that "
            f"are read of {config['dataset']}.inter (see load_col)"
        )
    if len(whole.inter_feat) < n_slices:
        raise ValueError(f"slices {n_slices} are more than {len(whole.inter_feat)} impressions")
    sort_by_time(whole)
    whole._change_feat_format()
    rows = whole.inter_feat
    bounds = np.linspace(0, len(rows), n_slices + 1).round().astype(int)
    return [whole.copy(rows[a:b]) for a, b in pairwise(bounds)]


def _train(trainer, stage: str, loader) -> None:
    model = trainer.model
    if hasattr(model, "start_index"):
        if not bool(model.indexed):
            trainer.train_item_layer(loader)
        trainer.seed_stage(stage, loader)
        model.start_index(len(loader))
    trainer.run_stage(
        stage,
        trainer.config["epochs"],
        loader,
        model.calculate_loss,
        learning_rate=trainer.learning_rate,
    )


def remember_history(model: LabelledModel, parts: list) -> None:
    """Sets the user histories of the model to the engagements in the given slices.

    Args:
        model: The stream's model.
        parts: RecBole datasets of the slices so far.
    """
    task = model.tasks[0].name
    rows = [part.inter_feat for part in parts]
    engaged = [part[task] > 0 for part in rows]
    users, items = (
        torch.cat([part[field][mask] for part, mask in zip(rows, engaged, strict=True)])
        for field in (model.USER_ID, model.ITEM_ID)
    )
    model.data.set_history(users, items, model.n_users, model.n_items)
    model.eval()


def _publish(folder: Path, number: int, model: LabelledModel) -> tuple[Tensor, object]:
    """Saves the index over the served items; returns their ids and the index."""
    index = getattr(model, "index", None)
    if index is not None:
        snapshot = folder / "snapshots" / str(number)
        for each in (snapshot.parent, snapshot):
            make_folder(each)
        index.save(snapshot / runs.INDEX)
    return model.alive_rows + 1, index


def _record(number, n_rows, metrics, served, before, stage) -> Slice:
    items, index = served
    earlier = torch.empty(0, dtype=torch.int64) if before is None else before[0]
    added = int((~torch.isin(items, earlier)).sum())
    deleted = int((~torch.isin(earlier, items)).sum())
    moved = []
    if index is not None and before is not None:
        moved = _drift(before[1], index)
    return Slice(number, n_rows, metrics, len(items), added, deleted, moved, stage["seconds"])


def _drift(before: HierarchicalIndex, after: HierarchicalIndex) -> list[float]:
    _, old, new = np.intersect1d(before.items, after.items, return_indices=True)
    codes = [
        np.stack([index.assignments(depth)[rows] for depth in range(1, index.depth + 1)])
        for index, rows in ((before, old), (after, new))
    ]
    return drift(codes[0], matched(*codes))
