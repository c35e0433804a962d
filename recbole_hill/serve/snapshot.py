"""A stream's snapshot: the stream's model after a slice, with the data that count as seen."""

from pathlib import Path

from recbole.data.interaction import cat_interactions

from recbole_hill.config.config import HillConfig
from recbole_hill.data.features import require_features
from recbole_hill.data.splits import (
    Data,
    SealedTest,
    interactions_sha256,
    known_data,
    require_files,
    require_same_data,
)
from recbole_hill.labelled.model import LabelledModel
from recbole_hill.labelled.stream import OneDataset, remember_history, slice_name, slices_of
from recbole_hill.model.build import build_model
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import (
    CONFIG,
    STAGES,
    STREAM,
    read_config,
    read_stages,
    read_stream,
)
from recbole_hill.run.hashes import require_unchanged, warn_if_changed


def read_snapshot(folder: Path, number: int | None) -> tuple[HillConfig, Data, LabelledModel]:
    """Reads the model that a stream serves after a slice; rows up to this slice count as seen.

    Args:
        folder: Folder of the stream.
        number: Number of the slice, from 0; None reads the last finished slice.

    Returns:
        Configuration, data and model.

    Raises:
        FileNotFoundError: If the slice is not finished.
        ValueError: If the data or the weights are not those of the stream.
    """
    config = HillConfig(None, None, None, {**read_config(folder), "run_dir": str(folder)})
    require_unchanged(folder, STREAM, STAGES)
    warn_if_changed(folder, CONFIG)
    n_slices, stages = read_stream(folder)["slices"], read_stages(folder)
    finished = [each for each in range(n_slices) if slice_name(each) in stages]
    number = max(finished, default=0) if number is None else number
    if number not in finished:
        raise FileNotFoundError(f"the stream in {folder} has not finished slice {number}")
    require_files(config)
    require_features(config)
    parts = slices_of(config, n_slices)
    require_same_data(folder, interactions_sha256(*map(OneDataset, parts)))
    model = build_model(config, OneDataset(parts[0]))
    weights = f"{slice_name(number)}.safetensors"
    require_unchanged(folder, weights)
    set_model_weights(model, load_weights(folder / weights))
    remember_history(model, parts[: number + 1])
    rows = cat_interactions([part.inter_feat for part in parts[: number + 1]])
    seen = OneDataset(parts[0].copy(rows))
    return config, Data(seen._dataset, seen, seen, SealedTest(), known_data(folder)), model
