"""Runs command lines in forks of one process that has imported everything.

A fresh interpreter imports for seconds; a fork starts in milliseconds. The server is a process of
its own, because a process that has run a torch operation has threads, which no fork inherits.

It reads one JSON object a line (:class:`harness.Server` writes it) and answers each with one:

    {"argv": [...], "cwd": DIR, "limit": 20, "kill_after": null, "group": true, "alone": true,
     "hook": null}
    {"status": 0, "seconds": 1.2, "ended": "itself" | "limit" | "killed"}

A negative status is the number of the signal that ended the process. What the process prints is in
``cwd/../out.txt`` and ``cwd/../err.txt``. ``hook`` is ``[module, function, arguments]``, called in
the fork before the command. ``alone`` says that the command starts no processes.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import recbole_hill

#: Bytes of address space that a case may take beyond the server's own, and of any file it writes.
_MEMORY, _FILE = 6 << 30, 1 << 30
#: Seconds that a case may wait, for a machine that others use; its limit is of its own CPU time.
_WAIT = 6


def import_everything() -> None:
    """Imports the package, every model class and what they import when they run; runs nothing."""
    importlib.import_module("torch._dynamo")  # by every optimiser, in two seconds
    importlib.import_module("recbole.trainer")
    for module in pkgutil.walk_packages(recbole_hill.__path__, "recbole_hill."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from recbole_hill import registry

    for entry in registry.entries():
        with contextlib.suppress(ImportError):  # a model of an optional extra
            entry.load()


def serve(requests, answers) -> None:
    """Answers requests until they end."""
    for line in requests:
        request = json.loads(line)
        child = os.fork()
        if not child:
            answers.close()
            end(run_command, request)
        print(json.dumps(wait(child, request)), file=answers, flush=True)


def end(command, request: dict) -> None:
    """Runs a command, and ends the process as Python would, without its clean-up of memory."""
    status = 1
    try:
        status = command(request)
    except SystemExit as stop:  # argparse
        status = stop.code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


def run_command(request: dict) -> int:
    """Runs a command line in this process, cut off from the server's files and terminal."""
    os.setsid()
    os.chdir(request["cwd"])
    outside = Path(request["cwd"]).parent
    streams = (os.devnull, os.O_RDONLY), (outside / "out.txt", None), (outside / "err.txt", None)
    for number, (path, mode) in enumerate(streams):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if mode is None else mode)
        os.dup2(opened, number)
        os.close(opened)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (request["limit"],) * 2)
    if request["alone"]:
        atexit._clear()  # what libraries clean up for processes that they started
        resource.setrlimit(resource.RLIMIT_AS, (own_memory() + _MEMORY,) * 2)
    if request["hook"]:
        module, function, arguments = request["hook"]
        getattr(importlib.import_module(module), function)(**arguments)
    sys.argv = ["run_recbole_hill.py", *request["argv"]]
    from recbole_hill.cli import main

    return main()


def own_memory() -> int:
    """Returns the bytes of address space that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def wait(child: int, request: dict) -> dict:
    """Waits for a fork, and ends it at its limit or at the moment of its kill."""
    start, ended = time.monotonic(), "itself"
    kill_after = request["kill_after"]
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        seconds = time.monotonic() - start
        if kill_after is not None and seconds >= kill_after:
            ended, kill_after = "killed", None
            kill(child, group=request["group"])
        elif seconds >= request["limit"] * _WAIT:
            ended = "limit"
            kill(child, group=True)
            found = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # what the command started and left behind
        if request["group"]:
            os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(found[1])
    if status in (-signal.SIGXCPU, -signal.SIGKILL) and ended == "itself":
        ended = "limit"
    return {"status": status, "seconds": time.monotonic() - start, "ended": ended}


def kill(child: int, *, group: bool) -> None:
    """Kills a fork, with or without the processes that it started."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(child, signal.SIGKILL)


if __name__ == "__main__":
    # The streams of the protocol; a case gets others in their place.
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    import_everything()
    gc.freeze()  # a collection in a fork would copy the pages of everything
    print("ready", file=answers, flush=True)
    serve(requests, answers)
