"""``prepare``: convert interactions in any common form for RecBole."""

import argparse
import sys

HELP = "convert your own interactions, or a public dataset's files, for RecBole"
EPILOG = """\
Columns that are not named are chosen by common names, and said. Read are CSV and other delimited
text, JSON lines, Parquet and RecBole's .inter; plain, .gz or in a .zip; a file or a folder. Public
datasets are recognised by their files: MovieLens, Amazon, Yelp, Gowalla's check-ins, LightGCN's
splits, KuaiRand.

examples
  recbole-hill prepare shop --source=orders.csv
  recbole-hill prepare shop --source=orders.csv --user=customer --item=sku --time=ordered_at
  recbole-hill prepare films --source=ratings.csv --rating=stars --min_rating=4 --core=5
  recbole-hill prepare ml-20m --source=ml-20m.zip
  recbole-hill prepare gowalla --source=LightGCN-PyTorch/data/gowalla
"""

#: Options that choose columns, with what each is.
_COLUMNS = {
    "user": "the user",
    "item": "the item",
    "time": "the time (ISO, seconds since 1970 ...); none: leave it out",
    "rating": "the rating; none: leave it out",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("name", help="the dataset's name, as --dataset will take it")
    command.add_argument(
        "--source", required=True, metavar="PATH", help="file, folder or .zip to read"
    )
    for role, meaning in _COLUMNS.items():
        text = f"column of {meaning}; by name, or by number from 1"
        command.add_argument(f"--{role}", metavar="COLUMN", help=text)
    command.add_argument(
        "--min_rating", type=float, metavar="R", help="leave out rows with a lower rating"
    )
    command.add_argument(
        "--core", type=int, metavar="K", help="keep users and items with K rows or more (k-core)"
    )
    command.add_argument("--output", default="dataset", help="where to write (default: dataset)")
    command.add_argument("--force", action="store_true", help="write even if nothing has changed")


def run(arguments: argparse.Namespace) -> None:
    """Writes the files, and prints what they are and which commands may follow."""
    from recbole_hill.data.prepare.convert import prepare
    from recbole_hill.data.prepare.own import Prepared
    from recbole_hill.data.prepare.statistics import in_ascii

    options = {key: getattr(arguments, key) for key in (*_COLUMNS, "min_rating", "core")}
    prepared = prepare(
        arguments.name, arguments.source, arguments.output, force=arguments.force, **options
    )
    text = str(prepared)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = in_ascii(text)
        text = text.encode("ascii", "backslashreplace").decode()
    # RecBole reads its own copy of ml-100k, unless it is told where to read.
    elsewhere = arguments.output != "dataset" or arguments.name == "ml-100k"
    where = f" --data_path={arguments.output}" if elsewhere else ""
    print(f"{text}\n\nnext:")
    print(f"  recbole-hill --model=HILL --dataset={arguments.name}{where}")
    print(f"  recbole-hill --model=ItemKNN --dataset={arguments.name}{where}")
    if isinstance(prepared, Prepared) and prepared.has_times:
        print("to test on later rows than those of train:")
        print(f"  recbole-hill --model=HILL --dataset={arguments.name}{where} --split=global_time")
