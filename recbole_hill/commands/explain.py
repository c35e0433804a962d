"""``explain``: show a user's path through the index."""

import argparse

from recbole_hill.commands.options import hush_libraries, whole
from recbole_hill.run.text import printable_lines

HELP = "show a user's path through the index"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--checkpoint", required=True, metavar="DIR", help="a HILL run's folder")
    command.add_argument("--user", required=True, help="an external user id")
    command.add_argument(
        "--k", type=whole(1), default=5, help="nodes and items per level (default: 5)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Prints the path."""
    hush_libraries()
    from recbole_hill.serve.open_run import open_run

    print(printable_lines(open_run(arguments.checkpoint).explain(arguments.user, arguments.k)))
