"""``run``, the default: train, index, adapt, evaluate."""

import argparse
import os
import sys
import warnings

from recbole_hill.commands.options import add_config_files, config_files_of, hush_libraries
from recbole_hill.run.text import printable

HELP = "train, index, adapt, evaluate (the default)"
TAKES_SETTINGS = True
EPILOG = """\
Any setting of RecBole, of the model or of its backbone can be given as --key=value; it wins over
the files of --config_files, which win over properties/. An unknown key is an error.

protocols
  holdout    10 % of train is validation; choices and early stopping look at it; test is read once
  refit      epochs chosen by holdout, then trained on all of train, test read once
  published  trained on all of train, the best test epoch reported; rows are stamped test-selected

--tune searches settings first (ASHA over tuning/<Model>.yaml), always under holdout, in the run's
folder; then the best of them are run under --protocol. The test set is read by the run alone.

examples
  run_recbole_hill.py --model=HILL --dataset=ml-100k
  run_recbole_hill.py --model=HILL --dataset=ml-100k --nodes_per_depth="[300, 30]" --ttt_epochs=5
  run_recbole_hill.py --model=BPR --dataset=mine --tune=30m
  run_recbole_hill.py --model=NESCL --dataset=gowalla --protocol=published --config_files="my.yaml"
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--model", help="a name that `models` lists")
    command.add_argument("--dataset", help="ml-100k ships with RecBole; others need `prepare`")
    add_config_files(command)
    command.add_argument("--protocol", help="holdout | refit | published")
    command.add_argument(
        "--tune", help="first search settings on validation: 20 (trials), or 30m (needs Ray)"
    )
    command.add_argument("--resume", metavar="DIR", help="continue the killed run in this folder")


def run(arguments: argparse.Namespace) -> None:
    """Trains and tests a model, and prints a line per arm."""
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    hush_libraries()
    from recbole_hill import registry
    from recbole_hill.report.tables import arms_table

    overrides = arguments.overrides
    if arguments.protocol is not None:
        overrides["protocol"] = arguments.protocol
    if arguments.model and arguments.dataset and not (arguments.tune or arguments.resume):
        registry.find(arguments.model)  # an unknown name is all that there is to say
        print(_expected(arguments, overrides), file=sys.stderr)
    result = _result(arguments, overrides)
    print(arms_table(result.rows))
    print(f"\nkept in {printable(result.folder)}")


def _expected(arguments: argparse.Namespace, overrides: dict) -> str:
    """Returns how long past runs like this one took, in a line."""
    from recbole_hill.experiments.study.estimate import History, past_rows
    from recbole_hill.experiments.study.plan import Cell
    from recbole_hill.train.open_run import RESUMED_WITH

    own = RESUMED_WITH | {"checkpoint_dir", "data_path", "protocol", "run_dir", "seed"}
    settings = {key: value for key, value in overrides.items() if key not in own}
    made = arguments.model, arguments.dataset, overrides.get("protocol", "holdout")
    cell = Cell(arguments.model, *made, overrides.get("seed", 0), settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged rows: they are no part of this run
        rows = past_rows([overrides.get("checkpoint_dir", "saved"), "studies"])
    return printable(History(rows).says(cell))


def _result(arguments: argparse.Namespace, overrides: dict):
    """Runs the pipeline, after a search where one was asked for."""
    from recbole_hill import pipeline
    from recbole_hill.experiments.sweep.tuned_run import is_tuned, resume_tuned, run_tuned

    files = config_files_of(arguments)
    if arguments.resume and is_tuned(arguments.resume):
        return resume_tuned(arguments.resume, overrides)
    if arguments.tune is None:
        return pipeline.run(
            arguments.model,
            arguments.dataset,
            config_files=files,
            overrides=overrides,
            resume=arguments.resume,
        )
    if arguments.resume:
        raise ValueError(
            f"--tune begins a run, --resume={arguments.resume} continues one without a search; "
            "accepted is one of them"
        )
    return run_tuned(
        arguments.model,
        arguments.dataset,
        arguments.tune,
        config_files=files,
        overrides=overrides,
    )
