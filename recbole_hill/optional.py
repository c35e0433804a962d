"""Libraries that only some models need."""

import importlib
from types import ModuleType


def require(module: str, package: str, model: str) -> ModuleType:
    """Imports an optional library.

    Args:
        module: What to import, such as ``torch_geometric.nn``.
        package: What to install, as pip spells it.
        model: Who needs it.

    Raises:
        ImportError: Naming the model, the package and the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{model} needs {package}, which is not installed; it comes with the extra "
            f"`baselines`: pip install -c constraints.txt -e '.[baselines]'"
        ) from error
