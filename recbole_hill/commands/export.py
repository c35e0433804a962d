"""``export``: write lists, vectors and index as files."""

import argparse

from recbole_hill.commands.options import (
    add_search,
    add_users,
    hush_libraries,
    search_of,
    users_of,
    whole,
)

HELP = "write lists, vectors and index as files"
EPILOG = """\
Writes, in external ids:
  recommendations.csv (.parquet)              user, rank, item, score
  user_embeddings.npy, item_embeddings.npy    float32; row r is of line r of users.txt, items.txt
  index.npz, index.faiss                      a HILL run's tree, and FAISS's lists of its depth-1
                                              nodes, whose ids are rows of item_embeddings.npy
  manifest.json                               what each file is, and how to search
Lists and user vectors are of all users, or of those that --users, --user and --users_file name.
A model whose score is not an inner product of two vectors (EASE, NeuMF) has lists only.

examples
  run_recbole_hill.py export --checkpoint=saved/RUN --output=exported
  run_recbole_hill.py export --checkpoint=saved/RUN --output=exported --format=parquet --k=100
  run_recbole_hill.py export --checkpoint=saved/RUN --output=two --users=42,17 --retrieval=faiss
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--checkpoint", required=True, metavar="DIR", help="a run's folder")
    command.add_argument("--output", required=True, metavar="DIR", help="where to write")
    command.add_argument("--k", type=whole(1), default=20, help="items per user (default: 20)")
    command.add_argument("--format", default="csv", help="csv | parquet, of the lists")
    add_users(command)
    add_search(command)
    command.add_argument("--force", action="store_true", help="write over an earlier export")


def run(arguments: argparse.Namespace) -> None:
    """Writes the files, and prints what they are."""
    users, search = users_of(arguments), search_of(arguments)
    hush_libraries()
    from recbole_hill.serve.export import export

    manifest = export(
        arguments.checkpoint,
        arguments.output,
        k=arguments.k,
        file_format=arguments.format,
        users=users,
        **search,
        force=arguments.force,
        progress=True,
    )
    for file, entry in manifest["files"].items():
        print(f"{file:23}  {entry['what']}")
    if "vectors" in manifest:
        print(f"vectors: {manifest['vectors']}")
    print(f"\nkept in {arguments.output}")
