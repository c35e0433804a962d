"""Pair selectors: functions that choose the <user, node> pairs for test-time training.

The setting ``pair_selector`` names a function of the registry::

    (history, search, index, settings) -> Pairs

``history`` tells which user has which item in train: a sparse matrix of ones, shape (U + 1, I),
whose row 0 is RecBole's padding user. ``search(k)`` returns each user's k best unseen items, which
the trained model finds through the index: rows of the index, (U + 1, k), with -1 where there is no
item. ``search.kept_nodes()`` returns the nodes that the beam keeps, by depth, (U + 1, K_d) sparse.
Nothing is searched before ``search`` is called. ``index`` is the
:class:`~recbole_hill.index.hierarchy.HierarchicalIndex`. ``settings`` maps keys to the run's
settings, including the settings of the selector. A selector sees train data only.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recbole_hill.adapt.interest import interest_from_lists, union
from recbole_hill.adapt.pairs import Pairs, extract_pairs
from recbole_hill.index.hierarchy import HierarchicalIndex


class Search(Protocol):
    """The search of the trained model through its index; see the module."""

    def __call__(self, k: int) -> np.ndarray:
        """Returns every user's k best unseen items."""

    def kept_nodes(self) -> list[sp.csr_matrix]:
        """Returns which nodes the beam keeps for each user."""


PairSelector = Callable[[sp.csr_matrix, Search, HierarchicalIndex, Mapping], Pairs]

#: Number of items per user where interest comes from a search.
RETRIEVED_ITEMS = 20


def interest_pairs(
    history: sp.csr_matrix, search: Search, index: HierarchicalIndex, settings: Mapping
) -> Pairs:
    """Selects pairs by interest rate (HILL, section 3.6): the paper's selector.

    The interest rate is the share of a node that the user is interested in.

    Settings: ``interest_source``, ``interest_reading``, ``interest_thresholds``, ``phi_dep``,
    ``min_children``, ``pair_history``.

    Args:
        history: See the module.
        search: See the module.
        index: See the module.
        settings: See the module.

    Returns:
        The pairs whose interest rate reaches the threshold of their depth.
    """
    interests, source = history, settings["interest_source"]
    if source != "history":
        interests = interest_from_lists(search(RETRIEVED_ITEMS), history.shape[1])
    if source == "both":
        interests = union(history, interests)
    if source == "beam":
        interests = [interests, *search.kept_nodes()]
    pairs = extract_pairs(
        interests,
        index.parents,
        thresholds=settings["interest_thresholds"],
        phi_dep=settings["phi_dep"],
        min_children=settings["min_children"],
        rate=settings["interest_reading"],
    )
    if most := settings["pair_history"]:
        pairs = pairs.of_users(np.diff(history.indptr) <= most)
    return pairs
