"""``recommend``: print a user's best unseen items."""

import argparse
import sys
from pathlib import Path

from recbole_hill.commands.options import add_search, hush_libraries, names_of, search_of

HELP = "print a user's best unseen items"
EPILOG = """\
Prints user, rank, item and score, best first, without what the user has in train and validation.
An id with a comma in it is given by --user, or in a file.

examples
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42,17
  run_recbole_hill.py recommend --checkpoint=saved/RUN --user="Smith, John" --user=42
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --k=50 --retrieval=faiss
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --beam_width=20
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --node_score=best
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder")
    command.add_argument("--users", help="external user ids: 42,17 (one with a comma: --user)")
    command.add_argument(
        "--user", action="append", default=[], metavar="ID", help="one id; may be repeated"
    )
    command.add_argument("--users_file", metavar="FILE", help="a text file with one id a line")
    command.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    add_search(command)


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per user and item."""
    users = _users_of(arguments)
    hush_libraries()
    from recbole_hill.serve.open_run import open_run

    lists = open_run(arguments.checkpoint).recommend(users, arguments.k, **search_of(arguments))
    for user, listed in zip(users, lists, strict=True):
        if not listed:
            print(f"user {user!r} has every item: none is left to recommend", file=sys.stderr)
        for rank, (item, score) in enumerate(listed, start=1):
            print(f"{user}\t{rank}\t{item}\t{score:.6f}")


def _users_of(arguments: argparse.Namespace) -> list[str]:
    """Returns the ids of the three options, in the order of --users, --user and --users_file."""
    users = [*names_of(arguments.users or ""), *arguments.user]
    if arguments.users_file:
        file = Path(arguments.users_file)
        if not file.is_file():
            raise FileNotFoundError(f"--users_file {file} does not exist")
        users += [line for line in file.read_text(encoding="utf-8").split("\n") if line]
    if not users:
        raise ValueError(
            "users must name at least one user, by --users=42,17, --user=ID or --users_file=FILE; "
            "got none"
        )
    return users
