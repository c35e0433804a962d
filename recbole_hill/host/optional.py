"""Libraries that only some models or commands need."""

import importlib
from types import ModuleType


def require(
    module: str, package: str, needed_by: str, extra: str | None = "baselines"
) -> ModuleType:
    """Imports an optional library.

    Args:
        module: Module to import, such as ``torch_geometric.nn``.
        package: Package to install, by its name for pip.
        needed_by: Model or command that needs it.
        extra: The extra that installs it; None if recbole_hill itself installs it.

    Raises:
        ImportError: Names who needs it, the package, and how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"{needed_by} needs {package}, which is not installed"
        if extra is None:
            raise ImportError(f"{message}: pip install -c constraints.txt {package}") from error
        raise ImportError(f"{message}; it comes with {named(extra)}") from error


def named(extra: str) -> str:
    """Returns, for a message, an extra and the command that installs it."""
    return f"the extra `{extra}`: pip install -c constraints.txt -e '.[{extra}]'"


def require_faiss(needed_by: str) -> ModuleType:
    """Imports FAISS.

    Args:
        needed_by: Model or command that needs it.

    Raises:
        ImportError: Names who needs it, and how to get it.
    """
    return require("faiss", "faiss-cpu", needed_by, extra=None)
