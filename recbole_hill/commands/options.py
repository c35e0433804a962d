"""Options that several commands have, and how they are read."""

import argparse
import math
import warnings
from collections.abc import Callable
from pathlib import Path

#: The largest number of threads or processes: far above any machine's cores, and far below the
#: number that crashes OpenMP. `threads` in properties/schema.yaml has the same bound.
MOST_THREADS = 512
#: The largest seed that NumPy takes.
_MOST_SEED = 2**32 - 1


def add_config_files(command: argparse.ArgumentParser) -> None:
    """Adds ``--config_files``."""
    command.add_argument("--config_files", help='YAML files, separated by spaces: "a.yaml b.yaml"')


def config_files_of(arguments: argparse.Namespace) -> list[str] | None:
    """Returns the files of ``--config_files``; None without.

    Raises:
        ValueError: If the option names no file.
    """
    if arguments.config_files is None:
        return None
    files = arguments.config_files.split()
    if not files:
        raise ValueError(f"--config_files must name YAML files, got {arguments.config_files!r}")
    return files


def add_plugins(command: argparse.ArgumentParser) -> None:
    """Adds ``--plugin``, which every command has."""
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE[,FILE]",
        help="Python files, or importable modules, that register names of their own",
    )


def load_plugins(arguments: argparse.Namespace) -> None:
    """Imports the plugins of ``--plugin``."""
    sources = [source for text in arguments.plugin for source in names_of(text)]
    if sources:  # `doctor` has none, and must not need what the registry imports
        hush_libraries()
        from recbole_hill import plugins

        for source in sources:
            plugins.load(source)


def add_studies_folder(command: argparse.ArgumentParser) -> None:
    """Adds ``--output``, the folder of all studies."""
    command.add_argument(
        "--output",
        default="studies",
        metavar="DIR",
        help="folder of all studies (default: studies)",
    )


def add_search(command: argparse.ArgumentParser) -> None:
    """Adds how lists are made."""
    command.add_argument("--retrieval", help="exact | beam | faiss (default: the run's setting)")
    command.add_argument(
        "--beam_width",
        metavar="N",
        help='nodes kept per depth by beam and faiss: 60, "[60, 20]" (finest first) or full',
    )
    command.add_argument(
        "--node_score",
        help="mean | best: keep nodes by what their items score on average, or what the best of "
        "them is expected to (default: the run's setting)",
    )


def search_of(arguments: argparse.Namespace) -> dict:
    """Returns how lists are made, as ``LoadedRun.retriever`` takes it.

    Raises:
        ValueError: If a value does not fit; names the option.
    """
    from recbole_hill.config.dialect import parse_value
    from recbole_hill.config.schema import check, schema_of

    width = arguments.beam_width
    search = {
        "retrieval": arguments.retrieval,
        "beam_width": None if width is None else parse_value(width),
        "node_score": arguments.node_score,
    }
    for key, value in search.items():
        if value is not None:
            owner = "HSNN" if key == "beam_width" else "HILL"  # HSNN's may be full, too
            check(f"--{key}", value, schema_of(key, owner))
    return search


def add_users(command: argparse.ArgumentParser) -> None:
    """Adds the options that name users."""
    command.add_argument("--users", type=names, help="external ids: 42,17 (with a comma: --user)")
    command.add_argument(
        "--user", action="append", default=[], metavar="ID", help="one id; may be repeated"
    )
    command.add_argument("--users_file", metavar="FILE", help="a text file with one id a line")


def users_of(arguments: argparse.Namespace) -> list[str] | None:
    """Returns the ids of --users, --user and --users_file, in this order; None without any of them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is no text, or has no id.
    """
    users = [*(arguments.users or ()), *arguments.user]
    if arguments.users_file is None:
        return users or None
    file = Path(arguments.users_file)
    if not file.is_file():
        raise FileNotFoundError(f"--users_file {file} does not exist, or is a folder")
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"--users_file {file} must be a text in UTF-8: {error}") from error
    users += [line for line in lines if line]
    if not users:
        raise ValueError(f"--users_file {file} must have an id on a line, got none")
    return users


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns a reader of an option's whole number, for argparse's ``type``."""
    bounds = f">= {least}" if most is None else f"in [{least}, {most}]"

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be an integer {bounds}, got {text!r}")
        return number

    return read


def share_or_count(text: str) -> float:
    """Reads an option's number that is not negative, for argparse's ``type``."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number >= 0, got {text!r}")
    return number


def names(text: str) -> list[str]:
    """Reads an option's names, for argparse's ``type``."""
    found = names_of(text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be names separated by commas, got {text!r}")
    return found


def seeds(text: str) -> list[int]:
    """Reads an option's seeds, for argparse's ``type``."""
    read = [seed(one) for one in names(text)]
    if len(set(read)) < len(read):
        raise argparse.ArgumentTypeError(f"must be different integers, got {text!r}")
    return read


seed = whole(0, _MOST_SEED)


def names_of(text: str) -> list[str]:
    """Splits names at commas, and drops what is empty."""
    return [name.strip() for name in text.split(",") if name.strip()]


def hush_libraries() -> None:
    """Leaves out what PyTorch deprecates in RecBole, and its notes on sparse tensors.

    They are not the user's to mend.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    warnings.filterwarnings("ignore", message=r"Sparse|torch\.sparse", category=UserWarning)
