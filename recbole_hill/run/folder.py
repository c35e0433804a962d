"""A run's folder: its name, its log, and what stands on every row that it prints."""

import contextlib
import json
import logging
import secrets
import time
from pathlib import Path

import yaml

from recbole_hill.run.files import atomic_path

CONFIG = "config.yaml"
ROWS = "rows.jsonl"
METRICS = "metrics.json"
STAGES = "stages.json"
#: In ``config.yaml``, the format of the settings.
_FORMAT_KEY, _FORMAT = "settings_format", 2
#: In ``stages.json``, within the stage that ends a run: the file of the weights that serve.
SERVES = "serves"
#: The stage in which HILL keeps its adapted or unadapted weights, and the arm that has them.
CHOICE = "HILL"
#: Within a ``refit`` run's folder that of the run which chose for it, and its stage there.
HOLDOUT = "holdout"
#: How a stream is cut; a folder that has it is a stream's.
STREAM = "stream.json"


def new_folder(root: str | Path, model: str, dataset: str) -> Path:
    """Creates ``root/<model>-<dataset>-<time>-<random>``; two runs never share one."""
    while True:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = Path(root) / f"{model}-{dataset}-{stamp}-{secrets.token_hex(3)}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True, exist_ok=False)
            return folder


def folder_of(config) -> Path:
    """Returns ``run_dir``, which is set to a new folder if it is not."""
    if not config["run_dir"]:
        root = config["checkpoint_dir"]
        config["run_dir"] = str(new_folder(root, config["model"], config["dataset"]))
    return Path(config["run_dir"])


def claim(folder: Path) -> None:
    """Creates the folder that ``run_dir`` names, or takes it if no run is in it.

    Raises:
        ValueError: If there is one: another must not go on from its stages under other settings.
    """
    if (folder / CONFIG).exists():
        raise ValueError(
            f"run_dir {folder} holds a run already; continue it with --resume={folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)


def write_config(folder: Path, settings: dict) -> None:
    """Writes the effective settings as YAML."""
    with atomic_path(folder / CONFIG) as temporary:
        # Sorted, but not inside a setting: the order of `tasks` says which is the first.
        ordered = {**dict(sorted(settings.items())), _FORMAT_KEY: _FORMAT}
        temporary.write_text(yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True))


def read_config(folder: Path) -> dict:
    """Reads the settings that a run left.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If the file is not YAML.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no {CONFIG}")
    try:
        settings = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file} holds no settings")
    return _in_present_format(settings)


def _in_present_format(settings: dict) -> dict:
    """Returns settings as they are written today; format 1 listed beam widths coarsest first."""
    written, width = settings.pop(_FORMAT_KEY, 1), settings.get("beam_width")
    if written == 1 and isinstance(width, list) and "nodes_per_depth" in settings:
        settings["beam_width"] = width[::-1]
    return settings


def served_weights(folder: Path) -> Path:
    """Returns the file of the weights that a finished run serves, as ``stages.json`` says.

    Runs of before 2026-12 do not say it: there a run that has a backbone serves the weights of its
    last stage, any other run the weights of its only one.

    Raises:
        FileNotFoundError: If the folder is not a run's, or the run has not finished.
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
    """Writes the rows, one JSON object a line, and ``metrics.json`` by arm."""
    with atomic_path(folder / ROWS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with atomic_path(folder / METRICS) as temporary:
        by_arm = {row["arm"]: row["metrics"] for row in rows}
        temporary.write_text(json.dumps(by_arm, indent=1) + "\n")


def start_log(folder: Path, level: str) -> None:
    """Logs to the run's ``run.log`` and to standard error."""
    handlers = [logging.FileHandler(folder / "run.log"), logging.StreamHandler()]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        handler.addFilter(_without_colour)
    logging.basicConfig(level=str(level).upper(), handlers=handlers, force=True)
    # FAISS tries one build a processor feature, and tells of each that is not there as an error.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def _without_colour(record: logging.LogRecord) -> bool:
    import re

    record.msg = re.sub(r"\x1b\[[0-9;]*m", "", str(record.msg))
    return True
