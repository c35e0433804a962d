"""Runs a study's cells, each once, in an order that is of use whenever it is stopped."""

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
from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.files import atomic_path
from recbole_hill.run.ledger import DONE, FAILED, STUDY, Ledger
from recbole_hill.run.provenance import commit


@dataclass(frozen=True)
class Task:
    """A cell that is to run, of one of several studies."""

    study: Study
    cell: Cell
    estimate: Estimate


@dataclass(frozen=True)
class Outcome:
    """What a call has done.

    Attributes:
        done: Cells that are finished, those of earlier calls included.
        failed: Cells on record as failed.
        left: Cells that have not run to their end.
    """

    done: int
    failed: int
    left: int


def open_tasks(
    studies: Sequence[Study], history: History, *, retry_failed: bool = False
) -> list[Task]:
    """Returns what is left to run: all of the first seed before the second, short cells first.

    Those that others start from come before all others of their seed.

    Args:
        studies: The studies.
        history: What past runs took.
        retry_failed: Whether cells that failed run again.
    """
    tasks = []
    for study in studies:
        entries = Ledger(study.folder).entries()
        for cell in study.cells:
            status = entries.get(cell.id, {}).get("status")
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
) -> Outcome:
    """Runs what is left of the studies.

    Args:
        studies: The studies.
        workers: :class:`~recbole_hill.experiments.study.workers.LocalWorkers` or ``RayWorkers``.
        history: What past runs took, for order, memory and the time left.
        time_budget: Seconds after which no cell starts and running ones are stopped.
        retry_failed: Whether cells that failed run again.

    Raises:
        KeyboardInterrupt: After the running cells were stopped; the same call goes on with them.
    """
    waiting = open_tasks(studies, history, retry_failed=retry_failed)
    for study in studies:
        _describe(study)
    everything = {(study.folder, cell.id) for study in studies for cell in study.cells}
    progress = Progress(
        [task.cell for task in waiting],
        len(everything) - len(waiting),
        {task.cell.id: task.estimate.seconds for task in waiting},
        workers.slots,
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
    """Counts what is on record of the studies' cells."""
    status = []
    for study in studies:
        entries = Ledger(study.folder).entries()
        status += [entries.get(cell.id, {}).get("status") for cell in study.cells]
    done, failed = status.count(DONE), status.count(FAILED)
    return Outcome(done, failed, len(status) - done - failed)


def plan_table(studies: Sequence[Study], history: History, jobs: int) -> str:
    """Returns what would run, how long it takes and the memory it needs, without running it.

    Args:
        studies: The studies.
        history: What past runs took.
        jobs: Cells side by side.
    """
    head = ["table", "dataset", "row", "cells", "done", "a cell", "memory, MiB", "as"]
    lines = []
    work, cells, finished, largest = 0.0, 0, 0, 0
    for study in studies:
        entries = Ledger(study.folder).entries()
        rows: dict[str, list[Cell]] = {}
        for cell in study.cells:
            rows.setdefault(cell.row, []).append(cell)
        for row, group in rows.items():
            done = sum(entries.get(cell.id, {}).get("status") == DONE for cell in group)
            one = history.estimate(group[0])
            work += one.seconds * (len(group) - done)
            cells, finished = cells + len(group), finished + done
            largest = max(largest, one.memory_mib)
            counts = [str(len(group)), str(done), duration(one.seconds), f"{one.memory_mib:,}"]
            lines.append([study.table.number, study.dataset, row, *counts, one.basis])
    together = f", {duration(work / jobs)} with {jobs} side by side" if jobs > 1 else ""
    return "\n".join(
        [
            pipe_table(head, lines),
            "",
            f"{cells} cells, {finished} done; the rest takes about {duration(work)}{together}; the "
            f"largest needs {largest:,} MiB",
        ]
    )


def _startable(waiting: list[Task], running: dict, workers) -> list[Task]:
    """Returns the tasks that may start now: a slot, memory, and the runs they start from."""
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
        entry = future.result()
    except Exception as error:  # stopped by us, run by another process, or its node died for good
        progress.stop(task.cell)
        reason = str(error).strip().splitlines()
        progress.say(f"{task.cell}: not finished: {reason[0] if reason else type(error).__name__}")
        return
    progress.finish(task.cell, entry)
    declared = entry.get("declared_memory_mib")
    took = max((row["peak_memory_mib"] for row in entry.get("rows", ())), default=0)
    if declared and took > declared:
        progress.say(f"{task.cell}: took {took:,} MiB, declared were {declared:,}")


def _describe(study: Study) -> None:
    """Writes ``study.json``: what the study is, for its reports."""
    file = study.folder / STUDY
    before = json.loads(file.read_text()) if file.exists() else {}
    # A call for some rows or seeds adds to a study; its report shows all there is. A call with
    # other settings is for other cells of the same rows and seeds: they are the study's from now.
    known = {name: before.get(name, []) for name in ("seeds", "rows")}
    cells = before.get("cells", {})
    for cell in study.cells:
        cells.setdefault(cell.row, {})[str(cell.seed)] = cell.id
    facts = {
        "table": study.table.number,
        "dataset": study.dataset,
        "protocol": study.protocol,
        "seeds": sorted({*known["seeds"], *study.seeds}),
        "rows": list(dict.fromkeys([*known["rows"], *(cell.row for cell in study.cells)])),
        "cells": cells,
        "command": " ".join(sys.argv),
    }
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n")


def _mixtures(studies: Sequence[Study]) -> list[str]:
    """Returns a warning for each study with cells that another commit made."""
    now = commit()
    notes = []
    for study in studies:
        entries = Ledger(study.folder).entries().values()
        made = {row["commit"] for entry in entries for row in entry.get("rows", ())[:1]}
        if others := sorted(map(str, made - {now})):
            notes.append(
                f"{study.folder} holds cells of commit {', '.join(others)}, this is {now}: their "
                "seeds are not averaged together (a new --output makes them again)"
            )
    return notes
