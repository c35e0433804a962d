"""``sweep``: choose settings on validation, test the best."""

import argparse
import os

from recbole_hill.commands.options import (
    MOST_THREADS,
    add_config_files,
    config_files_of,
    hush_libraries,
    seed,
    whole,
)

HELP = "choose settings on validation, test the best"
TAKES_SETTINGS = True
EPILOG = """\
Settings are tried under holdout and compared on validation; the test set is read once, with the
best of them. What is searched: tuning/<model>.yaml, or --space=FILE. A setting given as --key=value
is the same for all trials. Called again with the same --output, a stopped sweep goes on.

strategies
  asha    settings at random; trials whose validation lags behind are stopped early (the default)
  random  settings at random, all trained to their end
  grid    every combination

examples
  run_recbole_hill.py sweep --model=BPR --dataset=ml-100k --trials=20 --output=saved/sweep-BPR
  run_recbole_hill.py sweep --model=HILL --dataset=ml-100k --strategy=grid --jobs=2 --output=DIR
  run_recbole_hill.py sweep --model=NESCL --dataset=gowalla --time_budget=8h --epochs=60
  run_recbole_hill.py --model=BPR --dataset=ml-100k --config_files=saved/sweep-BPR/best.yaml
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--model", required=True, help="a name that `models` lists")
    command.add_argument("--dataset", required=True, help="as for run")
    add_config_files(command)
    command.add_argument("--space", metavar="FILE", help="what to search (tuning/<model>.yaml)")
    command.add_argument("--strategy", default="asha", help="asha | random | grid (default: asha)")
    command.add_argument(
        "--trials", type=whole(1), help="settings to try (default: 20; a grid: all)"
    )
    command.add_argument("--time_budget", help="90s | 30m | 2h: after it no trial goes on")
    command.add_argument(
        "--jobs", type=whole(1, MOST_THREADS), default=1, help="trials at once (default: 1)"
    )
    command.add_argument("--ray_address", help="of a Ray cluster (default: Ray on this machine)")
    command.add_argument("--draw_seed", type=seed, default=2020, help="of the settings' draw")
    command.add_argument("--output", metavar="DIR", help="the sweep's folder; goes on with one")


def run(arguments: argparse.Namespace) -> None:
    """Searches, and prints the trials and the test of the best."""
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    hush_libraries()
    from recbole_hill.experiments.sweep.sweep import run_sweep
    from recbole_hill.report.sweep import sweep_table

    result = run_sweep(
        arguments.model,
        arguments.dataset,
        space=arguments.space,
        strategy=arguments.strategy,
        trials=arguments.trials,
        time_budget=arguments.time_budget,
        jobs=arguments.jobs,
        ray_address=arguments.ray_address,
        output=arguments.output,
        overrides=arguments.overrides,
        config_files=config_files_of(arguments),
        seed=arguments.draw_seed,
    )
    print(sweep_table(result))
