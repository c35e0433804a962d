"""Metrics of lists beyond accuracy: coverage, novelty, diversity, popularity bias and fairness.

All are made from lists, the train set and the test set, so that the models of a table share one
measure. Items are counted without RecBole's padding item, which RecBole's own ``ItemCoverage`` and
``GiniIndex`` count.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recbole_hill.data.splits import Data
from recbole_hill.data.tasks import tasks_of

#: Number of groups of items, by popularity, that REO and RSP compare.
ITEM_GROUPS = 5
#: Share of the items that are popular; the others are the long tail.
HEAD = 0.2
#: Share of the test users that are heavy (the most train items), and that are light (the fewest).
USER_GROUP = 0.2
#: Number of lists whose vectors are summed at once.
_LISTS_AT_ONCE = 512


@dataclass(frozen=True)
class Interactions:
    """What the metrics know of the data. Row u is user u + 1 of RecBole, column i is item i + 1.

    Attributes:
        seen: Interactions that no list repeats (train, and validation if it is apart from train),
            as ones, shape (U, I).
        train: Interactions that are trained on, as ones, shape (U, I).
        test: Interactions to be found, as ones, shape (U, I).
    """

    seen: sp.csr_matrix
    train: sp.csr_matrix
    test: sp.csr_matrix

    @property
    def popularity(self) -> np.ndarray:
        """The number of train users of each item, shape (I,)."""
        return np.asarray(self.train.sum(axis=0)).ravel()

    @property
    def n_train_users(self) -> int:
        """The number of users with a train item."""
        return int((np.diff(self.train.indptr) > 0).sum())

    @classmethod
    def of(cls, config, data: Data) -> "Interactions":
        """Reads the interactions of a run; of rows with labels, those whose first label is 1.

        Args:
            config: The run's configuration.
            data: The run's data.
        """
        before = [data.train, *([data.valid] if config["protocol"] == "holdout" else ())]
        tasks = tasks_of(config)
        label = tasks[0].name if tasks else None
        return cls(
            seen=sum(_pairs(loader) for loader in before).sign().tocsr(),
            train=_pairs(data.train, label),
            test=_pairs(data.test, label),
        )


def beyond(users: np.ndarray, lists: np.ndarray, data: Interactions) -> dict[str, float]:
    """Measures the lists of the test users.

    Args:
        users: Rows of the users, shape (U',).
        lists: Columns of the items, best first, shape (U', k); -1 where a list has ended.
        data: The interactions.

    Returns:
        ``recall``, ``coverage``, ``gini``, ``novelty``, ``diversity``, ``popularity``, ``tail``,
        ``popq``, ``reo``, ``rsp``, ``recall_heavy``, ``recall_light`` and ``user_gap`` (heavy minus
        light). NaN where a metric is not defined, such as for empty lists.
    """
    listed = _as_matrix(lists, data.train.shape[1])
    popularity = data.popularity
    hits = listed.multiply(data.test[users]).tocsr()
    recalls = _recalls(hits, data.test[users])
    heavy, light = heavy_and_light(np.asarray(data.train[users].sum(axis=1)).ravel())
    times_listed = np.asarray(listed.sum(axis=0)).ravel()
    groups = popularity_groups(popularity)
    wanted = _unseen(data.test, data, users)
    means = {name: _mean(recalls[rows]) for name, rows in (("heavy", heavy), ("light", light))}
    return {
        "recall": _mean(recalls),
        "coverage": float((times_listed > 0).mean()),
        "gini": gini(times_listed),
        "novelty": _mean_of_lists(listed, novelty(popularity, data.n_train_users)),
        "diversity": diversity(listed, data.train),
        "popularity": _mean_of_lists(listed, popularity),
        "tail": _mean_of_lists(listed, is_tail(popularity).astype(float)),
        "popq": popularity_quantile(lists, wanted, popularity),
        "reo": unequal(_by_group(hits, groups), _by_group(wanted, groups)),
        "rsp": unequal(times_of(times_listed, groups), _candidates(data.seen[users], groups)),
        "recall_heavy": means["heavy"],
        "recall_light": means["light"],
        "user_gap": means["heavy"] - means["light"],
    }


def gini(counts: np.ndarray) -> float:
    """Returns the Gini index of the items' numbers of lists: 0 if all are listed equally often.

    Args:
        counts: Number of lists with each item, shape (I,).
    """
    counts, n = np.sort(counts), len(counts)
    if not counts.sum():
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * counts.sum()))


def novelty(popularity: np.ndarray, n_users: int) -> np.ndarray:
    """Returns each item's self-information in bits: -log2 of the share of train users who have it.

    An item that no train user has counts as if one had it.

    Args:
        popularity: Number of train users of each item, shape (I,).
        n_users: Number of train users.
    """
    return -np.log2(np.maximum(popularity, 1) / n_users)


def is_tail(popularity: np.ndarray) -> np.ndarray:
    """Returns which items are not among the most popular fifth (of equals the first are), (I,)."""
    order = np.argsort(-popularity, kind="stable")
    tail = np.ones(len(popularity), dtype=bool)
    tail[order[: round(HEAD * len(popularity))]] = False
    return tail


def popularity_quantile(lists: np.ndarray, wanted: sp.csr_matrix, popularity: np.ndarray) -> float:
    """Returns PopQ@1 (Rhee et al., 2022, Eq. 3) as far as lists tell it.

    It is the mean popularity quantile of the users' best scored test items, each among the user's
    own test items: 0 for the most popular, 1 for the least popular one. Equally popular items share
    the middle of their places. Near 0 a model favours the popular ones of the items that a user
    likes; .5 is no favour. The best scored test item is the first hit of a list. Users without a
    hit, and with a single test item, are left out.

    Args:
        lists: Columns of the items, best first, shape (U', k); -1 where a list has ended.
        wanted: Test pairs that a list may have, as ones, shape (U', I).
        popularity: Number of train users of each item, shape (I,).
    """
    n_items = wanted.shape[1]
    pairs = wanted.tocoo()
    own_rows = n_items * np.arange(len(lists))[:, None]
    is_hit = np.isin(own_rows + lists, n_items * pairs.row.astype(np.int64) + pairs.col)
    is_hit &= lists >= 0
    lengths = np.diff(wanted.indptr)
    users = np.flatnonzero(is_hit.any(axis=1) & (lengths > 1))
    first = popularity[lists[users, is_hit[users].argmax(axis=1)]]
    lengths = lengths[users]
    own = popularity[wanted[users].indices]
    of_first = np.repeat(first, lengths)
    before = (own > of_first) + (own == of_first) / 2  # the first hit itself is half before itself
    places_before = np.bincount(np.repeat(np.arange(len(users)), lengths), before, len(users)) - 0.5
    return _mean(places_before / (lengths - 1))


def popularity_groups(popularity: np.ndarray) -> np.ndarray:
    """Returns each item's group, 0 for the most popular items; groups have equally many, (I,)."""
    order = np.argsort(-popularity, kind="stable")
    groups = np.empty(len(popularity), dtype=np.int64)
    groups[order] = np.arange(len(popularity)) * ITEM_GROUPS // len(popularity)
    return groups


def unequal(found: np.ndarray, possible: np.ndarray) -> float:
    """Returns how unequal the groups' rates are: standard deviation over mean (Zhu et al., 2020).

    0 is equality. A group with nothing to be found is left out.

    Args:
        found: Number of found pairs of each group, shape (G,).
        possible: Number of pairs that could be found, shape (G,).
    """
    rates = found[possible > 0] / possible[possible > 0]
    return float(rates.std() / rates.mean()) if rates.sum() else float("nan")


def diversity(listed: sp.csr_matrix, train: sp.csr_matrix) -> float:
    """Returns the mean distance of two items of a list, as a mean over lists of two items or more.

    The distance is 1 minus the cosine of the items' train users. An item without train users has
    the distance 1 to all others.

    Args:
        listed: Which list has which item, as ones, shape (U', I).
        train: Which user trains with which item, as ones, shape (U, I).
    """
    users_of = train.T.tocsr().astype(np.float64)
    norms = np.sqrt(np.asarray(users_of.sum(axis=1)).ravel())
    users_of = sp.diags(1 / np.maximum(norms, 1)) @ users_of
    lengths = np.asarray(listed.sum(axis=1)).ravel()
    own = listed @ (norms > 0).astype(float)  # sum of the vectors' squared norms, which are 1 or 0
    squares = np.zeros(len(lengths))
    for start in range(0, len(lengths), _LISTS_AT_ONCE):
        rows = slice(start, start + _LISTS_AT_ONCE)
        total = (listed[rows] @ users_of).power(2)
        squares[rows] = np.asarray(total.sum(axis=1)).ravel()
    several = lengths > 1
    pairs = lengths[several] * (lengths[several] - 1)
    return _mean(1 - (squares - own)[several] / pairs)


def heavy_and_light(activity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fifths of the users with the most and with the fewest train items.

    Of equals the first are heavy and the last are light.

    Args:
        activity: Number of train items of each user, shape (U',).
    """
    order = np.argsort(-activity, kind="stable")
    n = max(1, round(USER_GROUP * len(order)))
    return order[:n], order[-n:]


def times_of(counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns the sum of the items' counts in each group, shape (G,)."""
    return np.bincount(groups, counts, ITEM_GROUPS)


def _pairs(loader, label: str | None = None) -> sp.csr_matrix:
    """Returns the <user, item> pairs of a loader's rows as ones, without padding, (U, I)."""
    dataset = loader._dataset
    rows = dataset.inter_feat
    users, items = (rows[field].numpy() - 1 for field in (dataset.uid_field, dataset.iid_field))
    if label:
        wanted = rows[label].numpy() > 0
        users, items = users[wanted], items[wanted]
    shape = dataset.user_num - 1, dataset.item_num - 1
    return sp.csr_matrix((np.ones(len(users)), (users, items)), shape).sign()


def _as_matrix(lists: np.ndarray, n_items: int) -> sp.csr_matrix:
    rows, places = np.nonzero(lists >= 0)
    columns = lists[rows, places]
    return sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(lists), n_items))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _mean_of_lists(listed: sp.csr_matrix, of_item: np.ndarray) -> float:
    """Returns the mean over lists of the mean of their items' values; empty lists are left out."""
    lengths = np.asarray(listed.sum(axis=1)).ravel()
    some = lengths > 0
    return _mean((listed @ of_item)[some] / lengths[some])


def _recalls(hits: sp.csr_matrix, test: sp.csr_matrix) -> np.ndarray:
    found, wanted = (np.asarray(part.sum(axis=1)).ravel() for part in (hits, test))
    return found / np.maximum(wanted, 1)


def _by_group(pairs: sp.csr_matrix, groups: np.ndarray) -> np.ndarray:
    return times_of(np.asarray(pairs.sum(axis=0)).ravel(), groups)


def _unseen(test: sp.csr_matrix, data: Interactions, users: np.ndarray) -> sp.csr_matrix:
    """Returns the test pairs that a list may have."""
    wanted = test[users]
    unseen = (wanted - wanted.multiply(data.seen[users])).tocsr()
    unseen.eliminate_zeros()
    return unseen


def _candidates(seen: sp.csr_matrix, groups: np.ndarray) -> np.ndarray:
    """Returns the number of pairs of each group that a list may have."""
    return np.bincount(groups, minlength=ITEM_GROUPS) * seen.shape[0] - _by_group(seen, groups)
