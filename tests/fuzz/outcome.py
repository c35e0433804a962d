"""What the files of finished work say, without what differs from one call to the next."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

#: Fields of a record that must be the same whatever stopped the work in between.
_FIELDS = {"model", "dataset", "data_sha256", "protocol", "seed", "arm", "row", "status", "metrics"}
_FIELDS |= {"score", "epochs", "trial", "number", "rows", "items", "added", "deleted", "drift"}
_WHOLE = {".npz", ".npy", ".faiss", ".csv", ".parquet", ".txt"}
#: Weights of the best epoch so far: a stage's own file has them too.
_PASSING = {"best.safetensors"}
#: Folders of files that say how long something took.
_TIMED = {"report", "tensorboard"}


def outcome(folder: Path) -> dict:
    """Returns the hash of every file of weights, vectors and lists, and the records' fields."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or _TIMED & {*path.parts} or path.name in _PASSING:
            continue
        if path.suffix == ".safetensors":
            found[name] = _tensors(path)
        elif path.suffix in _WHOLE:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".jsonl":
            found[name] = _records(path)
        elif path.name == "metrics.json":
            found[name] = path.read_text(errors="replace")
    return found


def _tensors(path: Path) -> list | str:
    """Returns a file's notes and the hash of each tensor; their order in the file is by chance."""
    try:
        with safe_open(path, framework="numpy") as file:
            values = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            notes = file.metadata() or {}
    except SafetensorError:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    hashes = {key: hashlib.sha256(value.tobytes()).hexdigest() for key, value in values.items()}
    return [sorted(notes.items()), sorted(hashes.items())]


def _records(path: Path) -> list | str:
    """Returns a file's records, of those on one piece of work the last; its text if it has none."""
    last = {}
    for line in path.read_text(errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # cut off by a kill, and left out by every reader
            continue
        if not isinstance(record, dict):
            return path.read_text(errors="replace")
        work = [record.get(key) for key in ("cell", "id", "arm", "number")]
        last[json.dumps(work)] = _kept(record)
    return [last[work] for work in sorted(last)]


def _kept(record: dict) -> dict:
    kept = {key: value for key, value in record.items() if key in _FIELDS}
    if isinstance(kept.get("rows"), list):  # of a study's cell
        kept["rows"] = [_kept(row) for row in kept["rows"]]
    return kept
