"""Pair selectors: which <user, node> pairs test-time training learns from.

The setting ``pair_selector`` names a function of the registry::

    (history, search, index, settings) -> Pairs

``history`` is who has which item in train, (U, I) as a sparse matrix of ones whose row 0 is
RecBole's padding user. ``search(k)`` gives each user's k best unseen items by the trained model
through the index, as rows of the index, (U, k), -1 for none; nothing is searched before it is
called. ``index`` is the :class:`~recbole_hill.index.hierarchy.HierarchicalIndex`, ``settings`` the
run's settings by key, a selector's own among them. A selector sees train alone.
"""

from collections.abc import Callable, Mapping

import numpy as np
import scipy.sparse as sp

from recbole_hill.adapt.interest import interest_from_lists, union
from recbole_hill.adapt.pairs import Pairs, extract_pairs
from recbole_hill.index.hierarchy import HierarchicalIndex

Search = Callable[[int], np.ndarray]
PairSelector = Callable[[sp.csr_matrix, Search, HierarchicalIndex, Mapping], Pairs]

#: Items per user where interest comes from a search.
RETRIEVED_ITEMS = 20


def interest_pairs(
    history: sp.csr_matrix, search: Search, index: HierarchicalIndex, settings: Mapping
) -> Pairs:
    """Selects pairs by interest rate (HILL, section 3.6): the paper's selector.

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
    interests = history
    if settings["interest_source"] != "history":
        retrieved = interest_from_lists(search(RETRIEVED_ITEMS), history.shape[1])
        both = settings["interest_source"] == "both"
        interests = union(history, retrieved) if both else retrieved
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
