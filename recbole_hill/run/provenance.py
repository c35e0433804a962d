"""Provenance of a result: the code, versions, device, seeds and memory that stand on every row."""

import contextlib
import functools
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from recbole_hill.host.processes import peak_memory_mib

#: Packages whose versions a result depends on.
_PACKAGES = ("recbole-hill", "recbole", "torch", "numpy", "scipy", "pandas", "faiss-cpu")


def provenance(config) -> dict:
    """Returns how a row was made, settings and data aside."""
    return {
        "protocol": config["protocol"],
        "test_selected": config["protocol"] == "published",
        "seed": config["seed"],
        "split_seed": config["split_seed"],
        "device": device_name(config["device"]),
        "peak_memory_mib": peak_memory_mib(),
        **made_by(),
    }


def made_by() -> dict:
    """Returns the code that makes a result: command, commit and versions."""
    versions = {"python": platform.python_version(), **_versions(_PACKAGES)}
    program = ["python"] * sys.argv[0].endswith(".py")
    return {
        "command": shlex.join([*program, *sys.argv]),
        "commit": commit(),
        "versions": versions,
    }


def device_name(device) -> str:
    """Returns the device in words: a GPU's name, or the CPU with its thread count."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


@functools.cache
def commit() -> str | None:
    """Returns this checkout's commit, marked if the checkout has changes; None outside a checkout.

    Later calls return the commit of the first call. A run asks when it starts, because code that
    is pulled or edited while the run trains is not the code that it runs.
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


_QUIET = {"capture_output": True, "encoding": "utf-8", "check": True}


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
