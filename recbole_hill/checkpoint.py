"""What a run keeps on disk: weights, and the state that a killed run continues from.

Weights are safetensors; the training state is tensors and plain data, loaded with
``weights_only=True``. Nothing here unpickles objects.
"""

import pickle
import random
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recbole_hill.files import atomic_path


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Writes a state dict as safetensors; the old file survives any failure."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict.

    Raises:
        ValueError: If the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}") from error


def save_state(path: Path, state: dict) -> None:
    """Writes tensors and plain data for :func:`load_state`."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict:
    """Reads what :func:`save_state` wrote.

    Raises:
        ValueError: If the file is truncated, tampered with, or holds anything but plain data.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a whole training state: {first_line}") from error


def random_state(loader=None) -> dict:
    """Collects the states of every random generator a training step draws from.

    Args:
        loader: RecBole's train loader, whose own generator shuffles.
    """
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": [version, list(internal), gauss],
        "numpy": [
            name,
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    if loader is not None:
        state["loader"] = loader.generator.get_state()
    return state


def restore_random_state(state: dict, loader=None) -> None:
    """Sets every generator back to what :func:`random_state` saw."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if loader is not None and "loader" in state:
        loader.generator.set_state(state["loader"])
