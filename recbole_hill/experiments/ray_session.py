"""Joins a Ray cluster, or starts Ray on this machine: quietly, on loopback, no dashboard."""

import os
from pathlib import Path
from types import ModuleType

from recbole_hill.host.optional import require

#: The folder in which the package lies: a checkout, or that of the installed packages.
_CHECKOUT = Path(__file__).resolve().parents[2]
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_OBJECT_STORE_BYTES = 128 * 2**20  # a task or a trial returns a few numbers
#: Switches off what Ray would do beside its tasks.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def start_ray(address: str | None, cpus: int, needed_by: str) -> ModuleType:
    """Joins a cluster or starts one; the caller ends it with ``ray.shutdown()``.

    Args:
        address: The cluster's address, such as 127.0.0.1:6379; None or ``local`` starts one here.
        cpus: CPUs of a cluster that is started here.
        needed_by: The command, for the error where Ray is not installed.

    Returns:
        The module ``ray``.

    Raises:
        ImportError: If Ray is not installed; the error names the extra.
    """
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    address = address or "local"
    if address == "local" or address.rpartition(":")[0] in _LOOPBACK:
        # Ray would take the machine's outer address for loopback, and listen on every address. Ray
        # reads this variable at import; it names the systems on which its value is the default.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray = require("ray", "ray[tune]", needed_by, extra="tune")
    options = {
        "runtime_env": {"env_vars": {"PYTHONPATH": checkout_path()}},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == "local":  # and not another cluster that runs on this machine
        options |= {
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "num_cpus": cpus,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    # Ray's workers look for modules in the folder in which Ray is started, before Python's own: a
    # user's queue.py in the working folder would be taken for Python's.
    working_folder = Path.cwd()
    os.chdir(_CHECKOUT)
    try:
        ray.init(address=address, **options)
    finally:
        os.chdir(working_folder)
    return ray


def checkout_path() -> str:
    """Returns a PYTHONPATH under which another process finds this very code."""
    others = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([str(_CHECKOUT), *others])
