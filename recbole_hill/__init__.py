"""Hierarchical-index retrieval (HILL) for RecBole.

From Python::

    import recbole_hill as rh

    data = rh.Dataset.from_pandas(df, user="customer", item="sku", time="ordered_at")
    run = rh.fit("HILL", data, backbone="LightGCN")
    run.recommend(["c42"], k=10)

Importing the package imports no library and changes nothing in RecBole; a name below is imported
when it is first used.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

#: Public names, each with its module.
_PUBLIC = {
    "Comparison": "recbole_hill.api.compare",
    "Dataset": "recbole_hill.api.dataset",
    "Evaluation": "recbole_hill.api.evaluation",
    "Run": "recbole_hill.api.run",
    "compare": "recbole_hill.api.compare",
    "evaluate": "recbole_hill.api.evaluation",
    "fit": "recbole_hill.api.fit",
    "load": "recbole_hill.api.run",
    "models": "recbole_hill.api.models",
    "significance": "recbole_hill.api.significance",
}
__all__ = [*_PUBLIC, "register"]

#: Whether torch read OpenMP's settings before this package could make them; see
#: :mod:`recbole_hill.host.waiting`.
TORCH_CAME_FIRST = "torch" in sys.modules and "OMP_WAIT_POLICY" not in os.environ
# Threads that spin at every barrier, OpenMP's habit, make an epoch a hundred times slower as soon
# as another process wants a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def register() -> None:
    """Lets RecBole's own ``run_recbole``, ``get_model`` and ``load_data_and_model`` find ours.

    Importing this package changes nothing in RecBole; calling this does, once, for the process.
    """
    from recbole_hill.integration import register_with_recbole

    register_with_recbole()


def __getattr__(name: str):
    """Imports a public name at its first use (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
