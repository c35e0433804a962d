"""``recommend``: print a user's best unseen items."""

import argparse
import sys

from recbole_hill.commands.options import (
    add_search,
    add_users,
    hush_libraries,
    search_of,
    users_of,
    whole,
)
from recbole_hill.run.text import printable

HELP = "print a user's best unseen items"
EPILOG = """\
Prints user, rank, item and score, best first, without what the user has in train and validation.
A line end or another control character in an id is shown by its escape.
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
    add_users(command)
    command.add_argument("--k", type=whole(1), default=10, help="items per user (default: 10)")
    add_search(command)


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per user and item."""
    users, search = users_of(arguments), search_of(arguments)
    if users is None:
        raise ValueError("no user given: say --users=42,17, --user=ID or --users_file=FILE")
    hush_libraries()
    from recbole_hill.serve.open_run import open_run

    lists = open_run(arguments.checkpoint).recommend(users, arguments.k, **search)
    for user, listed in zip(users, lists, strict=True):
        if not listed:
            print(f"user {user!r} has every item: none is left to recommend", file=sys.stderr)
        for rank, (item, score) in enumerate(listed, start=1):
            print(f"{printable(user)}\t{rank}\t{printable(item)}\t{score:.6f}")
