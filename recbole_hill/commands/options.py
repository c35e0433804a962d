"""Options that several commands have, and how they are read."""

import argparse
import warnings


def add_config_files(command: argparse.ArgumentParser) -> None:
    """Adds ``--config_files``."""
    command.add_argument("--config_files", help='YAML files, separated by spaces: "a.yaml b.yaml"')


def config_files_of(arguments: argparse.Namespace) -> list[str] | None:
    """Returns the files of ``--config_files``; None without."""
    return arguments.config_files.split() if arguments.config_files else None


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
        help='nodes kept per depth by beam and faiss: 60, "[20, 60]" (coarsest first) or full',
    )
    command.add_argument(
        "--node_score",
        help="mean | best: keep nodes by what their items score on average, or what the best of "
        "them is expected to (default: the run's setting)",
    )


def search_of(arguments: argparse.Namespace) -> dict:
    """Returns how lists are made, as ``LoadedRun.retriever`` takes it."""
    from recbole_hill.config.dialect import parse_value

    width = arguments.beam_width
    return {
        "retrieval": arguments.retrieval,
        "beam_width": None if width is None else parse_value(width),
        "node_score": arguments.node_score,
    }


def names_of(text: str) -> list[str]:
    """Splits names at commas, and drops what is empty."""
    return [name.strip() for name in text.split(",") if name.strip()]


def hush_libraries() -> None:
    """Leaves out what PyTorch deprecates in RecBole, and its notes on sparse tensors.

    They are not the user's to mend.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module="recbole")
    warnings.filterwarnings("ignore", message=r"Sparse|torch\.sparse", category=UserWarning)
