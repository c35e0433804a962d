"""One cell as a process of its own: its memory is freed, and its crash is one row's."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from recbole_hill.config.config import written_value
from recbole_hill.experiments.ray_session import checkout_path
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.run.folder import CONFIG, ROWS
from recbole_hill.run.ledger import DONE, FAILED, Ledger
from recbole_hill.run.parent_runs import for_each

#: Environment of a cell: a thread that spins takes the core of the cell beside it.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}

#: Seconds that a process whose runner was killed may take to die.
_PATIENCE = 5.0
#: Signals by which a person or a cluster asks a process to end.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """The cell did not end; it goes on where it was when the study is called again."""


def run_cell(
    study: str | Path,
    cell: Cell,
    *,
    threads: int = 1,
    memory_mib: int | None = None,
    working_folder: str | Path = ".",
    stop: Callable[[], bool] = lambda: False,
) -> dict:
    """Runs a cell to its end, or goes on with it, and records it.

    Args:
        study: The study's folder.
        cell: The cell.
        threads: CPU threads.
        memory_mib: What the cell was planned to need; kept on record beside what it took.
        working_folder: What relative paths in the settings, ``dataset/`` first, start from.
        stop: Asked every half second whether to stop.

    Returns:
        The cell's entry; that on record if it was finished already.

    Raises:
        Stopped: If ``stop`` said so, or another process runs the cell at this moment.
    """
    ledger = Ledger(study)
    with ledger.claim(cell.id, patience=_PATIENCE) as lock:
        if lock is None:
            raise Stopped(f"{cell} is being run by another process")
        if (entry := ledger.entries().get(cell.id)) and entry["status"] == DONE:
            return entry
        folder = ledger.run_dir(cell.id)
        started = time.perf_counter()
        problem = None
        if not (folder / ROWS).exists():
            try:
                command = _command(ledger, cell, folder, threads)
                problem = _train(command, folder, Path(working_folder), lock, stop)
            except ValueError as error:
                problem = str(error)
        entry = {
            "cell": cell.id,
            "row": cell.row,
            "seed": cell.seed,
            "given": cell.given,
            "status": FAILED if problem else DONE,
            "seconds": round(time.perf_counter() - started, 1),
            "declared_memory_mib": memory_mib,
            "run_dir": str(folder.relative_to(ledger.folder)),
        }
        if problem:
            entry["error"] = problem
        else:
            entry["rows"] = [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]
        ledger.append(entry)
        return entry


def _command(ledger: Ledger, cell: Cell, folder: Path, threads: int) -> list[str]:
    """Returns the command line that starts the cell, or goes on with it.

    Raises:
        ValueError: If a cell that it starts from failed.
        Stopped: If one has not ended.
    """
    python = [sys.executable, "-m", "recbole_hill", "run"]
    folder = folder.absolute()
    if (folder / CONFIG).exists():
        return [*python, f"--resume={folder}"]
    settings = {**cell.settings, "protocol": cell.protocol, "seed": cell.seed, "threads": threads}
    settings |= {"run_dir": str(folder), "show_progress": False}
    for setting, starts in cell.starts_from.items():
        settings[setting] = for_each(starts, lambda start: _folder_of(ledger, start))
    return [
        *python,
        f"--model={cell.model}",
        f"--dataset={cell.dataset}",
        *(f"--{key}={written_value(value)}" for key, value in settings.items()),
    ]


def _folder_of(ledger: Ledger, start: str) -> str:
    """Returns the folder of a run to start from: a cell's, or one that is given as such.

    Raises:
        ValueError: If the cell failed.
        Stopped: If it has not ended.
    """
    entry = ledger.entries().get(start)
    if entry and entry["status"] == FAILED:
        raise ValueError(f"{entry['row']}, which it starts from, failed: {entry['error']}")
    if entry:
        return str((ledger.folder / entry["run_dir"]).absolute())
    if not (Path(start) / CONFIG).exists():
        raise Stopped("what it starts from is not finished")
    return start


def _train(
    command: list[str], folder: Path, working_folder: Path, lock: int, stop: Callable[[], bool]
) -> str | None:
    """Runs the command with its output in ``<folder>.log``; returns its error in one line.

    Raises:
        Stopped: If ``stop`` said so.
    """
    log = folder.with_suffix(".log")
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": checkout_path()}
    with open(log, "a") as output:
        at = output.tell()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=working_folder,
            env=environment,
            pass_fds=(lock,),
            preexec_fn=_die_with_parent,
            start_new_session=True,  # Ctrl-C is ours: the run is stopped, not failed
        )
        try:
            while process.poll() is None:
                if stop():
                    raise Stopped(log.stem)
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if not process.returncode:
        return None
    if -process.returncode in _STOPS:
        raise Stopped(f"stopped by {signal.Signals(-process.returncode).name}")
    with open(log) as output:
        output.seek(at)
        lines = output.read().splitlines()
    said = [line for line in lines if line.startswith("error: ")]
    if said:
        return said[-1].removeprefix("error: ")
    reason = f"exit status {process.returncode}"
    if process.returncode < 0:
        reason = f"killed by {signal.Signals(-process.returncode).name}"
    last = f"; last line: {lines[-1]}" if lines else ""
    return f"{reason}{last} (see {log})"


def _die_with_parent() -> None:
    """Has Linux kill the process when the one that started it dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
