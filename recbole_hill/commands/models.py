"""``models``: list every model."""

import argparse

HELP = "list every model: name, origin, what it is and needs, citation"
EPILOG = """\
backbone      it gives item vectors, so that HILL can index them (--backbone=NAME)
no training   it is computed from the train matrix, or from finished runs
needs ...     what its data must hold beside users and items

examples
  run_recbole_hill.py models --filter=backbone
  run_recbole_hill.py models --filter="no training"
  run_recbole_hill.py models --filter=rendle
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Adds the options."""
    command.add_argument("--filter", metavar="TEXT", help="only lines with the text, in any case")


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per model."""
    from recbole_hill import registry

    columns = [
        (
            f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name,
            entry.origin,
            ", ".join(registry.traits(entry)) or "-",
            entry.citation or "-",
        )
        for entry in registry.entries()
    ]
    *widths, _ = (max(map(len, column)) for column in zip(*columns, strict=True))
    lines = [
        "  ".join(f"{text:{width}}" for text, width in zip(cells, [*widths, 0], strict=True))
        for cells in columns
    ]
    wanted = arguments.filter
    shown = [line for line in lines if wanted is None or wanted.lower() in line.lower()]
    if not shown:
        raise ValueError(f"--filter={wanted}: none of the {len(lines)} lines of models has it")
    print("\n".join(shown))
