"""``recommend``: print a user's best unseen items."""

import argparse

from recbole_hill.commands.options import add_search, hush_libraries, names_of, search_of

HELP = "print a user's best unseen items"
EPILOG = """\
Prints user, rank, item and score, best first, without what the user has in train and validation.

examples
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42,17
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --k=50 --retrieval=faiss
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --beam_width=20
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42 --retrieval=beam --node_score=best
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder")
    command.add_argument("--users", required=True, help="external user ids: 42,17")
    command.add_argument("--k", type=int, default=10, help="items per user (default: 10)")
    add_search(command)


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per user and item."""
    hush_libraries()
    from recbole_hill.serve.loaded_run import LoadedRun

    users = names_of(arguments.users)
    lists = LoadedRun.load(arguments.checkpoint).recommend(
        users, arguments.k, **search_of(arguments)
    )
    for user, listed in zip(users, lists, strict=True):
        for rank, (item, score) in enumerate(listed, start=1):
            print(f"{user}\t{rank}\t{item}\t{score:.6f}")
