"""Commands on studies: ``table`` runs one and reports it, ``report --dataset`` reports all."""

import sys
from collections.abc import Sequence
from pathlib import Path

from recbole_hill.config.units import parse_duration, parse_mebibytes
from recbole_hill.experiments.study.datasets import datasets_table
from recbole_hill.experiments.study.estimate import History, past_rows
from recbole_hill.experiments.study.paper_table import PaperTable
from recbole_hill.experiments.study.plan import plan, require_data, require_metrics
from recbole_hill.experiments.study.runner import plan_table, run_studies
from recbole_hill.experiments.study.workers import LocalWorkers, RayWorkers
from recbole_hill.report.cells import read_study
from recbole_hill.run.ledger import CELLS

#: Folders with rows of past runs, from the working folder, beside the studies.
PAST = ("results", "saved")


def run_table(
    number: str,
    *,
    datasets: Sequence[str] = (),
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] = (2020,),
    protocol: str = "holdout",
    settings: dict | None = None,
    root: str = "studies",
    jobs: int = 1,
    threads: int = 1,
    memory: str | None = None,
    ray_address: str | None = None,
    gpus: float = 0.0,
    time_budget: str | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    backbone_from: str | None = None,
    reference: str | None = None,
) -> int:
    """Runs a table on one or more datasets and prints its report.

    Args:
        number: A file of ``properties/table``.
        datasets: Names; none: the paper's own for a table of datasets, else ml-100k.
        rows: Names of rows, None for all.
        seeds: Seeds of every row.
        protocol: holdout, refit or published.
        settings: Settings of every cell over the rows' own.
        root: Folder of all studies.
        jobs: Cells side by side.
        threads: CPU threads of a cell.
        memory: Memory that cells side by side may declare, such as 16g.
        ray_address: The address of a Ray cluster, or ``local``; None: processes on this machine.
        gpus: GPUs of a cell on Ray.
        time_budget: Such as 90s, 30m, 2h.
        dry_run: Whether to print the plan and run nothing.
        retry_failed: Whether cells on record as failed run again.
        backbone_from: Folder of a finished run that the rows start from.
        reference: The row that the others are tested against.

    Returns:
        Exit status: 0 if every cell is done, 1 otherwise.

    Raises:
        ValueError: If an argument does not fit; the error names it.
    """
    table = PaperTable.read(number)
    if table.kind == "datasets":
        _print(datasets_table(number, datasets or None, settings))
        return 0
    budget = None if time_budget is None else parse_duration(time_budget)
    memory_mib = None if memory is None else parse_mebibytes(memory)
    studies = [
        plan(
            table,
            dataset,
            root=root,
            protocol=protocol,
            seeds=seeds,
            rows=rows,
            settings=settings,
            backbone_from=backbone_from,
        )
        for dataset in datasets or ("ml-100k",)
    ]
    for study in studies:
        require_metrics(study)
    history = History(past_rows([*PAST, root]))
    if dry_run:
        _print(plan_table(studies, history, jobs))
        return 0
    for study in studies:
        require_data(study)
    if ray_address:
        workers = RayWorkers(ray_address, jobs, threads, gpus)
    else:
        workers = LocalWorkers(jobs, threads, memory_mib)
    outcome = run_studies(studies, workers, history, time_budget=budget, retry_failed=retry_failed)
    for study in studies:
        if (study.folder / CELLS).exists():
            _report(study.folder, reference)
    _print(f"{outcome.done} cells done, {outcome.failed} failed, {outcome.left} left")
    if outcome.left:
        _print("the same command goes on with the cells that are left")
    return 0 if outcome.done and not outcome.failed + outcome.left else 1


def report_dataset(dataset: str, root: str = "studies", *, reference: str | None = None) -> None:
    """Writes and prints the reports of all studies on a dataset.

    Args:
        dataset: Its name.
        root: Folder of all studies.
        reference: The row that the others are tested against.

    Raises:
        FileNotFoundError: If there is no study of the dataset.
    """
    cells = sorted(Path(root).glob(f"table*-{dataset}-*/{CELLS}"))
    if not cells:
        raise FileNotFoundError(f"{root}/ holds no study of {dataset!r}; run `table` first")
    for file in cells:
        _report(file.parent, reference)


def _report(folder: Path, reference: str | None) -> None:
    from recbole_hill.report.study import study_table
    from recbole_hill.report.terminal import terminal_table
    from recbole_hill.report.write import write_tables

    study = read_study(folder)
    table = study_table(study, reference)
    files = write_tables(study, table)
    _print(terminal_table(table))
    _print(f"\nkept in {folder}; {files['html']} is the page")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
