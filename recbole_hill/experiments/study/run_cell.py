"""One cell as a process of its own: it frees its memory, and its crash costs one row."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import recbole_hill
from recbole_hill.config.dialect import written_setting
from recbole_hill.experiments.ray_session import checkout_path
from recbole_hill.experiments.study.folder import claim, floor_file, run_dir
from recbole_hill.experiments.study.plan import Cell
from recbole_hill.host.processes import STOP_SIGNALS, bound_child
from recbole_hill.run.files import open_to_write, path_inside
from recbole_hill.run.folder import CONFIG, ROWS
from recbole_hill.run.hashes import require_unchanged
from recbole_hill.run.jsonl import rows_of
from recbole_hill.run.ledger import DONE, FAILED, ledger_of
from recbole_hill.run.parent_runs import for_each

#: The package as a script. With ``-m`` Python would look for modules in the working folder first,
#: and a user's ``queue.py`` there would be taken for Python's own.
_SCRIPT = str(Path(recbole_hill.__file__).with_name("__main__.py"))
#: Environment of a cell: a thread that spins takes the core of the cell beside it. What the cell
#: starts looks in no working folder either (from Python 3.11 on).
_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TQDM_DISABLE": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONSAFEPATH": "1",
}

#: Seconds that a process whose runner was killed may take to die.
_PATIENCE = 5.0


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
    train: Callable[[Cell, Path, dict | None], str | None] | None = None,
) -> dict:
    """Runs a cell to its end, or goes on with it, and records it.

    Args:
        study: The study's folder.
        cell: The cell.
        threads: CPU threads.
        memory_mib: The memory that the plan declares for the cell, kept on record beside the peak.
        working_folder: The folder that relative paths in the settings, such as ``dataset/``, start
            from.
        stop: Asked every half second whether to stop.
        train: Trains the cell into a folder with settings (None: the folder's run goes on with its
            own), and returns its error in a line, or None. By default a process of its own does.

    Returns:
        The cell's record; of a cell that is done already, its old one.

    Raises:
        Stopped: If ``stop`` returned True, or another process runs the cell at this moment.
    """
    ledger = ledger_of(study)
    with claim(study, cell.id, patience=_PATIENCE) as lock:
        if lock is None:
            raise Stopped(f"{cell} is being run by another process")
        if (record := ledger.records().get(cell.id)) and record["status"] == DONE:
            return record
        folder = run_dir(study, cell.id)
        started = time.perf_counter()
        problem = None
        if not (folder / ROWS).exists():
            try:
                settings = _settings(Path(study), cell, folder, threads, Path(working_folder))
                if train is not None:
                    problem = train(cell, folder, settings)
                else:
                    command = _command(cell, folder, settings)
                    problem = _train(command, folder, Path(working_folder), lock, stop)
            except ValueError as error:
                problem = str(error)
        if not problem:
            try:
                require_unchanged(folder, ROWS)
                rows = rows_of(folder / ROWS)
            except ValueError as error:
                problem = str(error)
        record = {
            "cell": cell.id,
            "row": cell.row,
            "seed": cell.seed,
            "given": cell.given,
            "status": FAILED if problem else DONE,
            "seconds": round(time.perf_counter() - started, 1),
            "declared_memory_mib": memory_mib,
            "run_dir": folder.relative_to(study).as_posix(),
        }
        if problem:
            record["error"] = problem
        else:
            record["rows"] = rows
        ledger.append(record)
        return record


def _settings(
    study: Path, cell: Cell, folder: Path, threads: int, working_folder: Path
) -> dict | None:
    """Returns the settings of the cell's run; None for one that is to go on with its own.

    Raises:
        ValueError: If a cell that this one starts from failed.
        Stopped: If such a cell has not ended.
    """
    if (folder / CONFIG).exists():
        return None
    settings = {**cell.settings, "protocol": cell.protocol, "seed": cell.seed, "threads": threads}
    settings |= {"run_dir": str(folder.absolute()), "show_progress": False}
    settings["floor_file"] = str(floor_file(study).absolute())
    for setting, starts in cell.starts_from.items():
        settings[setting] = for_each(starts, lambda start: _folder_of(study, start, working_folder))
    return settings


def _command(cell: Cell, folder: Path, settings: dict | None) -> list[str]:
    """Returns the command line that starts the cell, or goes on with it."""
    python = [sys.executable, _SCRIPT, "run"]
    python += [f"--plugin={source}" for source in cell.plugins]
    if settings is None:
        return [*python, f"--resume={folder.absolute()}"]
    return [
        *python,
        f"--model={cell.model}",
        f"--dataset={cell.dataset}",
        *(f"--{key}={written_setting(key, value)}" for key, value in settings.items()),
    ]


def _folder_of(study: Path, start: str, working_folder: Path) -> str:
    """Returns the folder of a run to start from.

    Args:
        study: The study's folder.
        start: The id of a cell, or the run's folder itself.
        working_folder: The folder that the run's folder starts from.

    Raises:
        ValueError: If the cell failed.
        Stopped: If the cell has not ended.
    """
    record = ledger_of(study).records().get(start)
    if record and record["status"] == FAILED:
        raise ValueError(f"{record['row']}, which it starts from, failed: {record['error']}")
    if record:
        return str(path_inside(study, record["run_dir"]).absolute())
    if not (working_folder / start / CONFIG).exists():
        raise Stopped("the run that it starts from is not finished")
    return start


def _train(
    command: list[str], folder: Path, working_folder: Path, lock: int, stop: Callable[[], bool]
) -> str | None:
    """Runs the command with its output in ``<folder>.log``, and returns its error in one line.

    Raises:
        Stopped: If ``stop`` returned True.
    """
    log = folder.with_suffix(".log")
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": checkout_path()}
    with open_to_write(log, "a") as output:
        at = output.tell()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=working_folder,
            env=environment,
            **bound_child(lock),  # Ctrl-C is ours: the run is stopped, not failed
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
    if -process.returncode in STOP_SIGNALS:
        raise Stopped(f"stopped by {signal.Signals(-process.returncode).name}")
    with open(log, encoding="utf-8", errors="replace") as output:
        output.seek(at)
        lines = output.read().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    reason = f"exit status {process.returncode}"
    if process.returncode < 0:
        reason = f"killed by {signal.Signals(-process.returncode).name}"
    last = f"; last line: {lines[-1]}" if lines else ""
    return f"{reason}{last} (see {log})"
