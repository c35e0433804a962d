"""Provenance of a result: code, versions, device, seeds and memory, as every row carries them."""

import contextlib
import functools
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path


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
