"""Processes: how a child is bound to its parent, and how much memory one takes, on each system."""

import ctypes
import signal
import subprocess
import sys

#: Signals by which a person or a cluster asks a process to end; Windows has no SIGHUP.
STOP_SIGNALS = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}


def bound_child(lock: int) -> dict:
    """Returns options of ``subprocess.Popen`` that bind a child to its parent and to a lock.

    Ctrl-C reaches the parent alone. On POSIX systems the child inherits the lock, so that the lock
    holds as long as one of the two lives, and on Linux the kernel kills the child when the parent
    dies. Windows has neither: there a child outlives a killed parent, and does not hold the lock.

    Args:
        lock: The descriptor of a file that :func:`filelock.lock_descriptor` locked.
    """
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"pass_fds": (lock,), "preexec_fn": _die_with_parent, "start_new_session": True}


def peak_memory_mib() -> int:
    """Returns the most memory that this process has held so far, in MiB."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset >> 20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # macOS counts bytes, Linux KiB


def _die_with_parent() -> None:
    """Has Linux kill this process when its parent dies, however the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
