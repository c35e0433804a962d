"""Files: atomic, plain, and refused when they are not whole."""

import errno
import random

import numpy as np
import pytest
import torch

from recbole_hill.run import checkpoint
from recbole_hill.run import folder as runs
from recbole_hill.run.files import atomic_path, sha256_of


def test_weights_round_trip(tmp_path):
    state = {"a": torch.randn(3, 2), "b": torch.arange(4)}
    checkpoint.save_weights(tmp_path / "w.safetensors", state)
    loaded = checkpoint.load_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("damage", ["truncate", "header", "flip", "empty"])
@pytest.mark.parametrize("kind", ["weights", "state"])
def test_damaged_files_are_refused_by_name(tmp_path, kind, damage):
    file = tmp_path / "file"
    save, load = getattr(checkpoint, f"save_{kind}"), getattr(checkpoint, f"load_{kind}")
    weights = torch.randn(50)
    save(file, {"a": weights})
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "header":
        data[:8] = bytes(8)
    elif damage == "flip":  # one bit of one weight
        data[data.index(weights.numpy().tobytes()) + 40] ^= 1
    else:
        data = b""
    file.write_bytes(data)
    with pytest.raises(ValueError, match=str(file)):
        load(file)


def test_a_strangers_pickle_is_not_run(tmp_path):
    ran = []

    class Evil:
        def __reduce__(self):
            return (ran.append, (1,))

    torch.save({"config": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil.pt"):
        checkpoint.load_state(tmp_path / "evil.pt")
    assert not ran


def test_random_state_round_trip():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item(), np.random.randn()

    draw()
    state = checkpoint.random_state()
    first = [draw() for _ in range(3)]
    checkpoint.restore_random_state(state)
    assert [draw() for _ in range(3)] == first


def test_old_file_survives_a_full_disk(tmp_path, monkeypatch):
    file = tmp_path / "w.safetensors"
    checkpoint.save_weights(file, {"a": torch.ones(2)})

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save_weights(file, {"a": torch.zeros(2)})
    monkeypatch.undo()
    assert torch.equal(checkpoint.load_weights(file)["a"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_atomic_path_creates_folders_and_replaces(tmp_path):
    target = tmp_path / "deep" / "file"
    for text in ("one", "two"):
        with atomic_path(target) as temporary:
            temporary.write_text(text)
    assert target.read_text() == "two"


def test_sha256_of(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_run_folders_never_collide(tmp_path):
    folders = {runs.new_folder(tmp_path, "HILL", "tiny") for _ in range(20)}
    assert len(folders) == 20 and not any(f.exists() for f in folders)


def test_config_of_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run's folder"):
        runs.read_config(tmp_path)
    written = {"a": [1, 2], "b": None, "model": "M", "dataset": "d", "protocol": "holdout"}
    runs.write_config(tmp_path, written)
    assert runs.read_config(tmp_path) == written
    (tmp_path / runs.CONFIG).write_text("- a\n- b\n")
    with pytest.raises(ValueError, match="holds no settings"):
        runs.read_config(tmp_path)
