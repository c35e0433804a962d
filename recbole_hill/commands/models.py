"""``models``: list every model."""

import argparse

HELP = "list every model: name, origin, citation"


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per model."""
    from recbole_hill import registry

    entries = registry.entries()
    names = [
        f"{entry.name} ({', '.join(entry.aliases)})" if entry.aliases else entry.name
        for entry in entries
    ]
    name_width = max(map(len, names))
    origin_width = max(len(entry.origin) for entry in entries)
    for name, entry in zip(names, entries, strict=True):
        print(f"{name:{name_width}}  {entry.origin:{origin_width}}  {entry.citation or '-'}")
