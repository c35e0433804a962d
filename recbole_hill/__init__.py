"""Hierarchical-index retrieval (HILL) for RecBole."""

from pathlib import Path

__version__ = "0.1.0"

# The modules `properties` and `tuning` are inside this package in a wheel, beside it in a checkout.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "tuning").is_dir():
    __path__.append(str(_HERE.parent))


def register() -> None:
    """Lets RecBole's own ``run_recbole``, ``get_model`` and ``load_data_and_model`` find ours.

    Importing this package changes nothing in RecBole; calling this does, once, for the process.
    """
    from recbole_hill.integration import register_with_recbole

    register_with_recbole()
