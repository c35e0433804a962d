"""The command line: which command is meant, its settings, and its errors in a line each."""

import argparse
import contextlib
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches

from recbole_hill.commands import (
    doctor,
    explain,
    export,
    models,
    prepare,
    recommend,
    report,
    run,
    stream,
    sweep,
    table,
)
from recbole_hill.commands.options import add_plugins, load_plugins
from recbole_hill.run.text import as_utf8, print_every_character, printable

#: In the order of ``--help``.
COMMANDS = (
    run,
    stream,
    table,
    sweep,
    prepare,
    models,
    recommend,
    export,
    explain,
    report,
    doctor,
)

#: Settings, and the options that stand for them in commands on finished runs.
OTHER_NAMES = {"topk": "k", "run_dir": "checkpoint"}

DESCRIPTION = """\
Hierarchical-index retrieval (HILL) for RecBole.

  run_recbole_hill.py --model=HILL --dataset=ml-100k
  run_recbole_hill.py --model=HILL --dataset=gowalla --backbone=LightGCN --protocol=refit
  run_recbole_hill.py --model=BPR --dataset=ml-100k --learning_rate=0.005
  run_recbole_hill.py --resume=saved/HILL-ml-100k-20261124-120000-abc123
  run_recbole_hill.py sweep --model=BPR --dataset=ml-100k --trials=20 --output=saved/sweep-BPR
  run_recbole_hill.py prepare gowalla --source=DIR
  run_recbole_hill.py prepare kuairand-pure --source=KuaiRand-Pure/data
  run_recbole_hill.py report saved/HILL-ml-100k-*
  run_recbole_hill.py table 3 --dataset=ml-100k --seeds=2020,2021,2022 --jobs=2
  run_recbole_hill.py recommend --checkpoint=saved/RUN --users=42,17
  run_recbole_hill.py export --checkpoint=saved/RUN --output=DIR
  run_recbole_hill.py --model=MyModel --dataset=ml-100k --plugin=my_model.py
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments without the program's name; ``sys.argv`` if None.

    Returns:
        The exit status: 0, or 1 for an error that is the user's to mend.
    """
    print_every_character()
    given = map(as_utf8, sys.argv[1:]) if argv is None else argv
    argv = [_underscored(word) for word in given]
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        argv = ["run", *argv]
    debug = "--debug" in argv
    arguments = argparse.Namespace(command=None)
    try:
        _require_once(argv)
        arguments, extra = _parser().parse_known_args([a for a in argv if a != "--debug"])
        for name, value in vars(arguments).items():
            if value == "" or (isinstance(value, list) and "" in value):
                raise ValueError(f"--{name} must not be empty, got ''")
        if extra and not getattr(arguments.command, "TAKES_SETTINGS", False):
            raise ValueError(f"unknown argument {extra[0]!r}{_meant(extra[0], arguments)}")
        arguments.overrides = _overrides(extra)
        load_plugins(arguments)
        return arguments.command.run(arguments) or 0
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 1
    except Exception as error:  # whatever RecBole or a library raised, in one line
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {_in_a_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        folder = getattr(error, "folder", None)  # of a run that has begun
        if folder is not None and arguments.command is run:
            again = f"continue with --resume={printable(folder)}"
        else:
            again = "the same command continues it"
        print(f"stopped; {again}", file=sys.stderr)
        return 130


def _in_a_line(error: Exception) -> str:
    r"""Returns an error as one line, with the line of a plugin that it comes from.

    A newline is shown as ``\n``: it may be of a value, and what follows is not cut.
    """
    users = isinstance(error, (ValueError, OSError, ImportError))
    text = str(error) if users else f"{type(error).__name__}: {error}"
    plugins = sys.modules.get("recbole_hill.plugins")
    place = plugins.place_of(error) if plugins else ""
    where = place or ("" if users else "--debug shows where")
    return printable(" ".join(part for part in (text, f"({where})" if where else "") if part))


def _underscored(word: str) -> str:
    """Returns an option with underscores in its name, as settings have: --dry-run is --dry_run."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _meant(argument: str, arguments: argparse.Namespace) -> str:
    """Returns, for the end of a message, the option that an unknown one is likely meant to be."""
    name = argument.removeprefix("--").partition("=")[0]
    known = vars(arguments).keys() - {"command", name}
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    for option in (OTHER_NAMES.get(name), *near):
        if option in known:
            return f"; did you mean --{option}?"
    return "; see --help"


def _require_once(argv: Sequence[str]) -> None:
    """Refuses an option that is given twice, unless it is one that may be repeated."""
    given = [word.partition("=")[0] for word in argv if word.startswith("--")]
    for option in set(given) - {"--plugin", "--user", "--debug"}:
        if given.count(option) > 1:
            raise ValueError(f"{option} is given twice")


class _Parser(argparse.ArgumentParser):
    """Reports its errors as all others are: a line that begins with the option, exit status 1."""

    def error(self, message: str):
        """Raises a ValueError in the place of argparse's exit."""
        option, _, said = message.removeprefix("argument ").partition(": ")
        raise ValueError(f"{option} {said}" if said.startswith("must") else message)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="run_recbole_hill.py", description=DESCRIPTION, formatter_class=raw, allow_abbrev=False
    )
    parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        own = parsers.add_parser(
            command.__name__.rpartition(".")[2],
            help=command.HELP,
            description=command.HELP,
            epilog=getattr(command, "EPILOG", None),
            formatter_class=raw,
            allow_abbrev=False,
        )
        own.set_defaults(command=command)
        if hasattr(command, "add_arguments"):
            command.add_arguments(own)
        add_plugins(own)
        own.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _overrides(extra: Sequence[str]) -> dict:
    """Parses ``--key=value`` the way RecBole's command line does, strictly."""
    overrides: dict = {}
    if extra:  # `doctor` has none, and must not need what the configuration imports
        from recbole_hill.config.dialect import parse_setting
    for argument in extra:
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise ValueError(
                f"cannot read argument {argument!r}; settings are given as --key=value"
            )
        if not value:
            raise ValueError(f"--{key} must not be empty, got ''; no value is ~")
        overrides[key] = parse_setting(key, value)
    return overrides
