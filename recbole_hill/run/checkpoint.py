"""The files of a run: its weights, and the state from which a killed run continues.

Weights are safetensors. The training state is tensors and plain data, loaded with
``weights_only=True``. Nothing here unpickles objects.
"""

import hashlib
import pickle
import random
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from recbole_hill.run.files import atomic_path

_HASH = "sha256"
_NOT_A_STATE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
#: Prefix of RecBole's ``other_parameter`` tensors among a model's weights.
_OTHER = "other_parameter."


def model_weights(model: nn.Module) -> dict[str, Tensor]:
    """Returns a model's state dict with the tensors that RecBole keeps as ``other_parameter``.

    Some of RecBole's models learn such tensors (Pop's counts); others cache vectors in them.
    """
    state = dict(model.state_dict())
    for name, value in _other_parameters(model).items():
        if isinstance(value, Tensor) and value.layout == torch.strided:
            state[_OTHER + name] = value
    return state


def set_model_weights(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Loads weights that :func:`model_weights` returned.

    A cache that the state does not contain is emptied. Otherwise RecBole's LightGCN would continue
    to score with the vectors of its former weights.

    Raises:
        ValueError: If the weights are not of this model's shapes.
    """
    others = {name: value for name, value in state.items() if name.startswith(_OTHER)}
    try:
        model.load_state_dict({name: state[name] for name in state if name not in others})
    except RuntimeError as error:
        said = " ".join(str(error).split("\n\t")[:2])
        raise ValueError(f"the weights are of other settings or other data: {said}") from error
    for name, value in _other_parameters(model).items():
        if value is None or isinstance(value, Tensor):
            saved = others.get(_OTHER + name)
            device = next((p.device for p in model.parameters()), torch.device("cpu"))
            setattr(model, name, None if saved is None else saved.to(device))


def _other_parameters(model: nn.Module) -> dict:
    return model.other_parameter() if hasattr(model, "other_parameter") else {}


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Writes a state dict as safetensors with its hash; if writing fails, the old file is kept."""
    tensors, stored = {}, set()
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        # safetensors refuses two names for one storage (weights that a model ties).
        tensors[name] = value.clone() if value.data_ptr() in stored else value
        stored.add(value.data_ptr())
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_HASH: _sha256(tensors)})


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict.

    Raises:
        ValueError: If the file is missing, truncated, not safetensors, or was changed after it was
            saved.
    """
    try:
        with safe_open(path, framework="pt") as file:
            noted = (file.metadata() or {}).get(_HASH)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}") from error
    if noted is not None and noted != _sha256(tensors):
        raise ValueError(f"{path} was changed after it was saved: its SHA-256 is another")
    return tensors


def _sha256(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_state(path: Path, state: dict) -> None:
    """Writes tensors and plain data, for :func:`load_state`."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict:
    """Reads a state that :func:`save_state` wrote.

    Raises:
        ValueError: If the file is truncated or changed, or contains anything but plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load verifies no checksums
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"{broken} was changed after it was saved")
        return torch.load(path, map_location="cpu", weights_only=True)
    except _NOT_A_STATE as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a whole training state: {first_line}") from error


def random_state(loader=None) -> dict:
    """Returns the states of all random generators from which a training step draws.

    Args:
        loader: RecBole's train loader, which shuffles with its own generator.
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
    """Sets every generator back to the state that :func:`random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if loader is not None and "loader" in state:
        loader.generator.set_state(state["loader"])


@contextmanager
def random_numbers_kept():
    """Restores all random generators after the block: its draws and seeds have no effect."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
