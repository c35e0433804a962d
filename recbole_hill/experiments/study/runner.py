"""Runs a study's cells, each once, in an order that is useful whenever the study is stopped."""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass

from recbole_hill.config.units import duration
from recbole_hill.experiments.study.estimate import Estimate, History
from recbole_hill.experiments.study.plan import Cell, Study
from recbole_hill.experiments.study.progress import Progress
from recbole_hill.report.cells import read_description
from recbole_hill.report.terminal import text_columns
from recbole_hill.run.files import LOCK, atomic_path, locked, remove_leftovers
from recbole_hill.run.ledger import DONE, FAILED, STUDY, ledger_of
from recbole_hill.run.provenance import commit


@dataclass(frozen=True)
class Task:
    """A cell that is to run, of one of several studies."""

    study: Study
    cell: Cell
    estimate: Estimate


@dataclass(frozen=True)
class Outcome:
    """The cells of a call's studies, by their status on record.

    Attributes:
        done: Cells that are finished, by this call or an earlier one.
        failed: Cells on record as failed.
        left: Cells that have not run to their end.
    """

    done: int
    failed: int
    left: int


def open_tasks(
    studies: Sequence[Study], history: History, *, retry_failed: bool = False
) -> list[Task]:
    """Returns the cells that are left to run.

    All cells of the first seed come before the second seed's. Within a seed, cells that others
    start from come first, then short cells before long ones.

    Args:
        studies: The studies.
        history: Time and memory of past runs.
        retry_failed: Whether cells that failed run again.
    """
    tasks = []
    for study in studies:
        records = ledger_of(study.folder).records()
        for cell in study.cells:
            status = records.get(cell.id, {}).get("status")
            if status != DONE and (status != FAILED or retry_failed):
                tasks.append(Task(study, cell, history.estimate(cell)))
    awaited = {start for task in tasks for start in task.cell.starts}

    def order(task: Task) -> tuple:
        last = task.cell.id not in awaited
        return task.study.seeds.index(task.cell.seed), last, task.estimate.seconds

    return sorted(tasks, key=order)


def run_studies(
    studies: Sequence[Study],
    workers,
    history: History,
    *,
    time_budget: float | None = None,
    retry_failed: bool = False,
    show: bool = True,
) -> Outcome:
    """Runs the cells that are left of the studies.

    Args:
        studies: The studies.
        workers: :class:`~recbole_hill.experiments.study.workers.LocalWorkers` or ``RayWorkers``.
        history: Time and memory of past runs: they set the order, the memory to declare and the
            estimate of the time left.
        time_budget: Seconds after which no cell starts and running cells are stopped.
        retry_failed: Whether cells that failed run again.
        show: Whether the progress is shown.

    Raises:
        KeyboardInterrupt: After the running cells are stopped; the same call goes on with them.
    """
    waiting = open_tasks(studies, history, retry_failed=retry_failed)
    for study in studies:
        study.folder.mkdir(parents=True, exist_ok=True)
        with locked(study.folder / LOCK):  # several runners may work on one study
            remove_leftovers(study.folder)
            _describe(study)
    everything = {(study.folder, cell.id) for study in studies for cell in study.cells}
    progress = Progress(
        [task.cell for task in waiting],
        len(everything) - len(waiting),
        {task.cell.id: task.estimate.seconds for task in waiting},
        workers.slots,
        shown=show,
    )
    for note in _mixtures(studies):
        progress.say(note)
    end = None if time_budget is None else time.monotonic() + time_budget
    running: dict = {}
    try:
        while waiting or running:
            out_of_time = end is not None and time.monotonic() >= end
            if out_of_time:
                workers.stop()
                waiting = []
            for task in _startable(waiting, running, workers):
                waiting.remove(task)
                progress.start(task.cell)
                future = workers.submit(task.study.folder, task.cell, task.estimate.memory_mib)
                running[future] = task
            if not running:
                break
            finished, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                _take(future, running.pop(future), progress)
    except KeyboardInterrupt:
        workers.stop()
        raise
    finally:
        workers.close()
        progress.close()
    return outcome(studies)


def outcome(studies: Sequence[Study]) -> Outcome:
    """Counts the studies' cells by their status on record."""
    status = []
    for study in studies:
        records = ledger_of(study.folder).records()
        status += [records.get(cell.id, {}).get("status") for cell in study.cells]
    done, failed = status.count(DONE), status.count(FAILED)
    return Outcome(done, failed, len(status) - done - failed)


def plan_table(studies: Sequence[Study], history: History, jobs: int) -> str:
    """Returns which cells would run, how long they take and the memory they need, as text.

    Args:
        studies: The studies.
        history: Time and memory of past runs.
        jobs: Cells side by side.
    """
    head = ["table", "dataset", "row", "cells", "done", "a cell", "memory, MiB", "as"]
    lines = []
    work, cells, finished, largest = 0.0, 0, 0, 0
    for study in studies:
        records = ledger_of(study.folder).records()
        rows: dict[str, list[Cell]] = {}
        for cell in study.cells:
            rows.setdefault(cell.row, []).append(cell)
        for row, group in rows.items():
            done = sum(records.get(cell.id, {}).get("status") == DONE for cell in group)
            one = history.estimate(group[0])
            work += one.seconds * (len(group) - done)
            cells, finished = cells + len(group), finished + done
            largest = max(largest, one.memory_mib)
            counts = [str(len(group)), str(done), duration(one.seconds), f"{one.memory_mib:,}"]
            lines.append([study.table.number, study.dataset, row, *counts, one.basis])
    together = f", {duration(work / jobs)} with {jobs} side by side" if jobs > 1 else ""
    return "\n".join(
        [
            text_columns([head, *lines]),
            "",
            f"{cells} cells, {finished} done; the rest takes about {duration(work)}{together}; the "
            f"largest needs {largest:,} MiB",
        ]
    )


def _startable(waiting: list[Task], running: dict, workers) -> list[Task]:
    """Returns the tasks that have a slot, memory, and finished runs to start from."""
    busy = {task.cell.id for task in running.values()}
    open_ids = busy | {task.cell.id for task in waiting}
    memory = sum(task.estimate.memory_mib for task in running.values())
    free = workers.slots - len(running)
    chosen = []
    for task in waiting:
        if free <= 0:
            break
        if task.cell.id in busy or task.cell.starts & open_ids:
            continue
        if not workers.fits(task.estimate.memory_mib, memory):
            continue
        chosen.append(task)
        busy.add(task.cell.id)
        memory += task.estimate.memory_mib
        free -= 1
    return chosen


def _take(future, task: Task, progress: Progress) -> None:
    """Reports a future's result; a cell that did not end is left for another call."""
    try:
        record = future.result()
    except Exception as error:  # stopped by us, run by another process, or its node died for good
        progress.stop(task.cell)
        reason = str(error).strip().splitlines()
        progress.say(f"{task.cell}: not finished: {reason[0] if reason else type(error).__name__}")
        return
    progress.finish(task.cell, record)
    declared = record.get("declared_memory_mib")
    peak = max((row["peak_memory_mib"] for row in record.get("rows", ())), default=0)
    if declared and peak > declared:
        progress.say(f"{task.cell}: took {peak:,} MiB, declared were {declared:,}")


def description(study: Study) -> dict:
    """Returns the description of a study that its reports read."""
    cells: dict[str, dict[str, str]] = {}
    for cell in study.cells:
        cells.setdefault(cell.row, {})[str(cell.seed)] = cell.id
    described = {
        "table": study.table.number,
        "dataset": study.dataset,
        "protocol": study.protocol,
        "seeds": sorted(study.seeds),
        "rows": list(cells),
        "cells": cells,
        "command": " ".join(sys.argv),
    }
    own = study.table.definition
    return {**described, "definition": own} if own else described


def _describe(study: Study) -> None:
    """Writes ``study.json``, the study's description."""
    file = study.folder / STUDY
    before = read_description(study.folder) if file.exists() else {}
    described = description(study)
    # A call for some rows or seeds adds to a study, and the report shows all rows and seeds. A call
    # with other settings is for other cells of the same rows and seeds: they replace the old cells.
    cells = before.get("cells", {})
    for row, of_row in described["cells"].items():
        cells.setdefault(row, {}).update(of_row)
    described |= {
        "seeds": sorted({*before.get("seeds", []), *study.seeds}),
        "rows": list(dict.fromkeys([*before.get("rows", []), *described["rows"]])),
        "cells": cells,
    }
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _mixtures(studies: Sequence[Study]) -> list[str]:
    """Returns a warning for each study that holds cells of another commit."""
    now = commit()
    notes = []
    for study in studies:
        records = ledger_of(study.folder).records().values()
        made = {row["commit"] for record in records for row in record.get("rows", ())[:1]}
        if others := sorted(map(str, made - {now})):
            notes.append(
                f"{study.folder} holds cells of commit {', '.join(others)}, this is {now}: their "
                "seeds are not averaged together (a new --output makes them again)"
            )
    return notes
