"""``table``: run a paper's table, and report it."""

import argparse

from recbole_hill.commands.options import (
    MOST_THREADS,
    add_studies_folder,
    hush_libraries,
    names,
    seeds,
    share_or_count,
    whole,
)

HELP = "run a paper's table, and report it"
TAKES_SETTINGS = True
EPILOG = """\
Runs the paper's table: a cell for each row and seed, each in a process of its own. A finished cell
is one line of cells.jsonl in the study's folder and never runs again; a killed one goes on with the
epoch that it was in when the same command is given once more; a failed one is recorded and the
rest goes on. First seed first, short cells first. Ends with the report: the table here, and
report/index.html, table.md, table.tex and table.csv in the folder. --key=value goes to every cell.

tables: 1 (MoNN and HSNN), 2 (the datasets), 3 (38 baselines and HILL), 4 (without each training
trick), 5 (joint, EM, separate), 6 (nodes per depth), 7 (interest thresholds); 4-hsnn and 5-hsnn
(HSNN's), forms (other forms of test-time training), beyond (Fusion and the best in print)

examples
  run_recbole_hill.py table 3 --dataset=ml-100k --seeds=2020,2021,2022 --jobs=2
  run_recbole_hill.py table 3 --dataset=gowalla --models=BPR,LightGCN,HILL --time-budget=2h
  run_recbole_hill.py table 3 --dataset=gowalla,yelp2018 --protocol=published --dry-run
  run_recbole_hill.py table 7 --dataset=gowalla --seeds=2020,2021 --backbone-from=saved/NESCL-RUN
  run_recbole_hill.py table 3 --dataset=ml-100k --ray-address=127.0.0.1:6379
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("number", metavar="N", help="the table")
    command.add_argument(
        "--dataset", type=names, help="one or more: gowalla,yelp2018 (default: ml-100k)"
    )
    command.add_argument(
        "--models",
        type=names,
        help="these rows and those they start from; with table 3 any model: BPR,MyModel",
    )
    command.add_argument("--seeds", type=seeds, default="2020", help="2020,2021 (default: 2020)")
    command.add_argument("--protocol", default="holdout", help="holdout | refit | published")
    command.add_argument(
        "--jobs", type=whole(1, MOST_THREADS), default=1, help="cells side by side (default: 1)"
    )
    command.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        default=1,
        help="CPU threads of a cell (default: 1)",
    )
    command.add_argument(
        "--memory", help="what cells side by side may need: 16g (default: 9/10 of what is free)"
    )
    command.add_argument(
        "--ray_address", help="run on this Ray cluster; `local` starts one here, on loopback"
    )
    command.add_argument(
        "--gpus", type=share_or_count, default=0.0, help="GPUs of a cell on Ray: 1, 0.5"
    )
    command.add_argument("--time_budget", help="stop after 90s, 30m, 2h; the same command goes on")
    command.add_argument(
        "--dry_run", action="store_true", help="print cells, time, memory; no more"
    )
    command.add_argument("--retry_failed", action="store_true", help="run failed cells once more")
    command.add_argument(
        "--backbone_from", metavar="DIR", help="a finished run, for tables 5 to 7 and forms"
    )
    command.add_argument("--reference", metavar="ROW", help="what significance is against")
    add_studies_folder(command)


def run(arguments: argparse.Namespace) -> int:
    """Runs the cells that are missing, and prints the report."""
    hush_libraries()
    from recbole_hill.experiments.study.command import run_table

    return run_table(
        arguments.number,
        datasets=arguments.dataset or (),
        rows=arguments.models,
        seeds=arguments.seeds,
        protocol=arguments.protocol,
        settings=arguments.overrides,
        root=arguments.output,
        jobs=arguments.jobs,
        threads=arguments.threads,
        memory=arguments.memory,
        ray_address=arguments.ray_address,
        gpus=arguments.gpus,
        time_budget=arguments.time_budget,
        dry_run=arguments.dry_run,
        retry_failed=arguments.retry_failed,
        backbone_from=arguments.backbone_from,
        reference=arguments.reference,
    )
