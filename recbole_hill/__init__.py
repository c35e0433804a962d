"""Hierarchical-index retrieval (HILL) for RecBole."""

__version__ = "0.1.0"


def register() -> None:
    """Lets RecBole's own ``run_recbole``, ``get_model`` and ``load_data_and_model`` find ours.

    Importing this package changes nothing in RecBole; calling this does, once, for the process.
    """
    from recbole_hill.integration import register_with_recbole

    register_with_recbole()
