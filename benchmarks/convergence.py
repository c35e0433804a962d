"""The accuracy of finished runs against their training time: a table and one plot.

    python benchmarks/convergence.py "cold=saved/RUN1" "from a filter=saved/RUN2" [--output=NAME]

The seconds are the wall-clock seconds of the training epochs, without validation. The time of a run
that starts from other runs (`pretrained_from`, `fuse_from`) begins with the sum of their times.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plots import write_convergence

from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.folder import read_config
from recbole_hill.run.parent_runs import parent_seconds
from recbole_hill.train.progress import EPOCHS, epochs_of


@dataclass(frozen=True)
class Reached:
    """One validation.

    Attributes:
        epochs: Epochs trained so far.
        seconds: Seconds of training so far, with the runs that the run started from.
        metrics: Metrics of the validation.
    """

    epochs: int
    seconds: float
    metrics: dict[str, float]


def curve(folder: Path) -> list[Reached]:
    """Reads the validations of a run.

    Args:
        folder: Folder of a finished run; relative paths in its settings start from the working
            folder.

    Raises:
        ValueError: If the run had no validation.
    """
    seconds, validations = parent_seconds(read_config(folder)), []
    for epoch in epochs_of(folder):
        seconds += epoch["seconds"]
        if epoch["metrics"]:
            validations.append(Reached(epoch["number"], seconds, epoch["metrics"]))
    if not validations:
        raise ValueError(
            f"{folder / EPOCHS} has no validation; accepted is a run that had some, of a version "
            "from December 2026 on"
        )
    return validations


def table(curves: dict[str, list[Reached]], metrics: list[str]) -> str:
    """Returns the Markdown table, one line per validation."""
    head = ["run", "epochs", "training, s", *metrics]
    rows = []
    for name, reached in curves.items():
        for point in reached:
            values = [f"{point.metrics[metric]:.4f}" for metric in metrics]
            rows.append([name, str(point.epochs), f"{point.seconds:,.0f}", *values])
    return pipe_table(head, rows)


def main() -> None:
    """Prints the table; draws the plot if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("runs", nargs="+", help="folders of finished runs, or NAME=FOLDER")
    parser.add_argument("--metrics", default="recall@20,ndcg@20", help="the first is drawn")
    parser.add_argument("--output", type=Path, help="where to draw, without a suffix")
    options = parser.parse_args()
    named = [run.rpartition("=") for run in options.runs]
    curves = {name or folder: curve(Path(folder)) for name, _, folder in named}
    metrics = options.metrics.split(",")
    print(table(curves, metrics))
    if options.output:
        write_convergence(
            {
                name: [(point.seconds / 60, point.metrics[metrics[0]]) for point in reached]
                for name, reached in curves.items()
            },
            metrics[0],
            options.output,
        )


if __name__ == "__main__":
    main()
