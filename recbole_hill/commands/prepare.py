"""``prepare``: convert a dataset's own files for RecBole."""

import argparse

HELP = "convert a dataset's own files for RecBole"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument(
        "name", help="gowalla, yelp2018, amazon-book, kuairand-pure, or a name of your own"
    )
    command.add_argument(
        "--source",
        required=True,
        help="folder of LightGCN's train.txt and test.txt (.gz), or of KuaiRand's CSV files",
    )
    command.add_argument("--output", default="dataset", help="where to write (default: dataset)")
    command.add_argument("--force", action="store_true", help="write even if nothing has changed")


def run(arguments: argparse.Namespace) -> None:
    """Writes the files, and prints what they are."""
    from recbole_hill.data.prepare.convert import prepare

    print(prepare(arguments.name, arguments.source, arguments.output, force=arguments.force))
