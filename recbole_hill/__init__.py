"""Hierarchical-index retrieval (HILL) for RecBole."""

import os.path

__version__ = "0.1.0"

# The modules `properties` and `tuning` are inside this package in a wheel, beside it in a checkout.
_HERE = os.path.dirname(os.path.realpath(__file__))
if not os.path.isdir(os.path.join(_HERE, "tuning")):
    __path__.append(os.path.dirname(_HERE))


def register() -> None:
    """Lets RecBole's own ``run_recbole``, ``get_model`` and ``load_data_and_model`` find ours.

    Importing this package changes nothing in RecBole; calling this does, once, for the process.
    """
    from recbole_hill.integration import register_with_recbole

    register_with_recbole()
