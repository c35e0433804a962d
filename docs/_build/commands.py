"""A page for each command, from its parser: the page says what ``--help`` says."""

import argparse

import markup

from recbole_hill.cli import DESCRIPTION, _parser

HEAD = """\
# Commands

Each command is `python run_recbole_hill.py COMMAND` in a checkout, and `recbole-hill COMMAND` where
the package is installed. Without a command's name, `run` is meant. A hyphen in an option's name may
be written as an underscore.

"""


def pages() -> dict[str, str]:
    """Returns the pages' Markdown by their place in the site."""
    subparsers = next(
        action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    parsers = subparsers.choices
    rows = [[f"[`{name}`]({name}.md)", own.description] for name, own in parsers.items()]
    table = markup.table(["command", "what it does"], rows)
    made = {f"commands/{name}.md": _page(name, own) for name, own in parsers.items()}
    made["commands/index.md"] = f"{HEAD}{table}\n\n```text\n{DESCRIPTION}```\n"
    return made


def _page(name: str, parser: argparse.ArgumentParser) -> str:
    """Returns one command's page."""
    parser.prog = f"run_recbole_hill.py {name}"
    description = parser.description[0].upper() + parser.description[1:]
    rows = [_row(action) for action in parser._actions if action.dest != "help"]
    parts = [
        f"# {name}",
        f"{description}.",
        markup.table(["option", "meaning"], rows),
    ]
    if getattr(parser.get_default("command"), "TAKES_SETTINGS", False):
        parts.append(
            "Settings of the [model](../models/index.md), of its backbone and of [every "
            "run](settings.md) follow as `--key=value`."
        )
    if parser.epilog:
        parts.append(f"```text\n{parser.epilog}```")
    return "\n\n".join(parts) + "\n"


def _row(action: argparse.Action) -> list[str]:
    """Returns an option's line of the table."""
    name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
    takes = action.nargs != 0 and action.option_strings
    value = f"={action.metavar or action.dest.upper()}" if takes else ""
    needed = " Required." if action.required and action.option_strings else ""
    text = (action.help or "").replace("<", "&lt;")
    return [f"`{name}{value}`", f"{text}.{needed}"]
