"""``stream``: train online, and judge each slice before learning it."""

import argparse

from recbole_hill.commands.options import add_config_files, config_files_of, hush_libraries, whole

HELP = "train online, and judge each slice before learning it"
TAKES_SETTINGS = True
EPILOG = """\
The impressions in the order of time, in slices: what the model predicts of a slice is judged (NE,
AUC) before it is trained on it, and a snapshot of weights and index is kept after each. Called
again with the same --run_dir and settings, a stopped stream goes on. Settings: --key=value.

examples
  run_recbole_hill.py stream --model=HSNN --dataset=ml-100k --slices=10
  run_recbole_hill.py stream --model=TTSN --dataset=ml-100k --keep=5 --run_dir=saved/online
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--model", required=True, help="MoNN | TTSN | EBR | HSNN")
    command.add_argument("--dataset", required=True, help="a dataset with labels and times")
    add_config_files(command)
    command.add_argument(
        "--slices", type=whole(2), default=10, help="parts of equal size (default: 10)"
    )
    command.add_argument(
        "--keep", type=whole(1), help="slices until an item not shown again is deleted"
    )


def run(arguments: argparse.Namespace) -> None:
    """Trains on the stream, and prints a line per slice."""
    hush_libraries()
    from recbole_hill.labelled.stream import run_stream
    from recbole_hill.report.tables import stream_table

    records = run_stream(
        arguments.model,
        arguments.dataset,
        slices=arguments.slices,
        keep=arguments.keep,
        overrides=arguments.overrides,
        config_files=config_files_of(arguments),
    )
    print(stream_table(records))
