"""A run's folder: its name, its log, and what stands on every row that it prints."""

import contextlib
import functools
import json
import logging
import platform
import resource
import secrets
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import yaml

from recbole_hill.files import atomic_path

CONFIG = "config.yaml"
ROWS = "rows.jsonl"
METRICS = "metrics.json"
STAGES = "stages.json"
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
        ordered = dict(sorted(settings.items()))
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
    return settings


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


def provenance(config) -> dict:
    """Returns what every row carries about how it was made, settings and data aside."""
    packages = ("recbole-hill", "recbole", "torch", "numpy", "scipy", "pandas", "faiss-cpu")
    return {
        "protocol": config["protocol"],
        "test_selected": config["protocol"] == "published",
        "seed": config["seed"],
        "split_seed": config["split_seed"],
        "device": device_name(config["device"]),
        "commit": commit(),
        "versions": {"python": platform.python_version(), **_versions(packages)},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "command": " ".join(sys.argv),
    }


def device_name(device) -> str:
    """Returns the device in words: a GPU's name, or the CPU with its thread count."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


@functools.cache
def commit() -> str | None:
    """Returns this checkout's commit, marked if it has changes; None outside a checkout.

    It is that of the first call: a run asks when it starts, since what is pulled or edited while
    it trains is not what it runs.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], **_QUIET).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.yaml"],
            **_QUIET,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed.stdout.strip() else "")


_QUIET = {"capture_output": True, "text": True, "check": True}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _without_colour(record: logging.LogRecord) -> bool:
    import re

    record.msg = re.sub(r"\x1b\[[0-9;]*m", "", str(record.msg))
    return True
