"""A run's folder: its name, its log, and the files that a run writes to it."""

import contextlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml

from recbole_hill.config.dialect import dump_settings, load_settings
from recbole_hill.run.files import atomic_path

CONFIG = "config.yaml"
ROWS = "rows.jsonl"
METRICS = "metrics.json"
STAGES = "stages.json"
#: Key and present number of the settings' format in ``config.yaml``.
_FORMAT_KEY, _FORMAT = "settings_format", 2
#: Key in ``stages.json``, in the stage that ends a run: the file of the weights that the run
#: serves.
SERVES = "serves"
#: The stage in which HILL keeps its adapted or unadapted weights, and the arm that has them.
CHOICE = "HILL"
#: Folder of the holdout run within a ``refit`` run's folder, and stage of the refit run that
#: records its seconds.
HOLDOUT = "holdout"
#: File with the slices of a stream; only a stream's folder has it.
STREAM = "stream.json"
#: Log of a run, note of the data that it saw, and external ids of its users and items.
LOG, DATA, IDS = "run.log", "data.json", "ids.json"
#: Files, and the folder of TensorBoard's, that a run writes before it has a result.
NOTES = frozenset({CONFIG, LOG, DATA, IDS, STREAM, "tensorboard"})


def new_folder(root: str | Path, model: str, dataset: str) -> Path:
    """Returns ``root/<model>-<dataset>-<time>-<random>``, a folder that is not there yet."""
    while True:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = Path(root) / f"{model}-{dataset}-{stamp}-{secrets.token_hex(3)}"
        if not folder.exists():
            return folder


def folder_of(config) -> Path:
    """Returns ``run_dir``; if it is not set, sets it to a new folder. Creates nothing."""
    if not config["run_dir"]:
        root = config["checkpoint_dir"]
        config["run_dir"] = str(new_folder(root, config["model"], config["dataset"]))
    return Path(config["run_dir"])


def claim(folder: Path) -> None:
    """Creates the folder that ``run_dir`` names, or uses it if it contains no run.

    Raises:
        ValueError: If the folder contains a run. Another run must not continue its stages with
            other settings.
    """
    if (folder / CONFIG).exists():
        raise ValueError(
            f"run_dir {folder} holds a run already; continue it with --resume={folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def nothing_left(folder: str | Path, notes: Collection[str] = NOTES) -> Iterator[None]:
    """Removes what a block wrote to a folder, if the block fails before it wrote a result.

    A refused start leaves no file and no folder. What was in the folder before stays.

    Args:
        folder: The folder, which need not exist.
        notes: Names of the files that are no result; so is no file of a folder of these names.
    """
    folder = Path(folder).absolute()
    there = {path for path in (folder, *folder.parents) if path.exists()}
    there |= set(folder.glob("*"))
    try:
        yield
    except Exception:
        new = [path for path in folder.glob("*") if path not in there]
        files = [file for path in new for file in (path, *path.rglob("*")) if file.is_file()]
        if all({file.name, file.parent.name} & set(notes) for file in files):
            _remove(new)
            for each in (folder, *folder.parents):
                if each in there or (each.exists() and any(each.iterdir())):
                    break
                if each.exists():
                    each.rmdir()
        raise


def _remove(paths: list[Path]) -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        if Path(handler.baseFilename) in paths:
            root.removeHandler(handler)  # it would write the file anew
            handler.close()
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_config(folder: Path, settings: dict) -> None:
    """Writes the effective settings as YAML."""
    with atomic_path(folder / CONFIG) as temporary:
        # Keys are sorted, but not inside a setting: the order of `tasks` says which task is the
        # first.
        ordered = {**dict(sorted(settings.items())), _FORMAT_KEY: _FORMAT}
        temporary.write_text(dump_settings(ordered))


def read_config(folder: Path) -> dict:
    """Reads the settings that a run wrote.

    Raises:
        FileNotFoundError: If the folder is not a run's folder.
        ValueError: If the file is not YAML.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no {CONFIG}")
    try:
        settings = load_settings(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file} holds no settings")
    return _in_present_format(settings)


def _in_present_format(settings: dict) -> dict:
    """Returns settings in the present format; format 1 listed beam widths coarsest first."""
    written, width = settings.pop(_FORMAT_KEY, 1), settings.get("beam_width")
    if written == 1 and isinstance(width, list) and "nodes_per_depth" in settings:
        settings["beam_width"] = width[::-1]
    return settings


def served_weights(folder: Path) -> Path:
    """Returns the file of the weights that a finished run serves, as ``stages.json`` says.

    Runs from before 2026-12 do not record this file. There, a run with a backbone serves the
    weights of its last stage, and any other run serves the weights of its only stage.

    Raises:
        FileNotFoundError: If the folder is not a run's folder, or the run has not finished.
    """
    folder = Path(folder)
    settings, file = read_config(folder), folder / STAGES
    stages = json.loads(file.read_text()) if file.is_file() else {}
    serving = [stage[SERVES] for stage in stages.values() if SERVES in stage]
    if not serving:
        last, weights = (CHOICE, "adapted") if settings.get("backbone") else ("backbone",) * 2
        serving = [f"{weights}.safetensors"] if last in stages else []
    if not serving or not (folder / serving[-1]).is_file():
        raise FileNotFoundError(
            f"the run in {folder} has not finished; continue it with --resume={folder}"
        )
    return folder / serving[-1]


def write_rows(folder: Path, rows: list[dict]) -> None:
    """Writes the rows, one JSON object per line, and their metrics by arm to ``metrics.json``.

    An arm is one compared variant of a run.
    """
    with atomic_path(folder / ROWS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with atomic_path(folder / METRICS) as temporary:
        by_arm = {row["arm"]: row["metrics"] for row in rows}
        temporary.write_text(json.dumps(by_arm, indent=1) + "\n")


def start_log(folder: Path, level: str) -> None:
    """Logs to the run's ``run.log`` and to standard error."""
    handlers = [logging.FileHandler(folder / LOG), logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        handler.addFilter(_without_colour)
    logging.basicConfig(level=str(level).upper(), handlers=handlers, force=True)
    # FAISS tries one build per processor feature, and logs each missing build as an error.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def _without_colour(record: logging.LogRecord) -> bool:
    import re

    record.msg = re.sub(r"\x1b\[[0-9;]*m", "", str(record.msg))
    return True
