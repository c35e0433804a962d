"""Which train interactions become validation: random ones, or ones like the later test set.

The test sets of the LightGCN files are each user's latest interactions. They lie farther from a
user's train items than a random part of train does. The files keep no times: their lines are
sorted. But items are numbered in the order in which they first appear in train. Take the items that
a user *brings in*, which are the items that no earlier user has: their numbers tell their order in
time. From them we estimate how much rarer near items are among a user's last items than among
random ones, and draw a validation set with the same shift. The test set is not used.
"""

import math

import numpy as np
import scipy.sparse as sp

from recbole_hill.data.nearness import pair_nearness

#: Number of equal parts of the random items' nearness in which the last items are counted.
_BINS = 20
#: Least number of items that a user must bring in; share of them that count as the last items.
_LEAST, _LAST = 10, 0.2


def choose_validation(users: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Chooses random train interactions as validation.

    Args:
        users: User of every interaction, shape (E,).
        ratio: Share of the interactions, in (0, 1).
        seed: Seed of the draw.

    Returns:
        Boolean mask of shape (E,) with about ``ratio * E`` True; each user keeps at least one
        interaction in train.

    Raises:
        ValueError: If the ratio is outside (0, 1).
    """
    if not 0 < ratio < 1:
        raise ValueError(f"valid_ratio must be between 0 and 1, got {ratio}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(users))
    # The first interaction of each user in this order is never taken.
    first = np.zeros(len(users), dtype=bool)
    first[order[np.unique(users[order], return_index=True)[1]]] = True
    free = order[~first[order]]
    mask = np.zeros(len(users), dtype=bool)
    mask[free[: math.floor(ratio * len(users))]] = True
    return mask


def choose_later_validation(
    users: np.ndarray, items: np.ndarray, ratio: float, seed: int
) -> np.ndarray:
    """Chooses train interactions that are farther from the rest of train, as later ones are.

    Interactions that are drawn but not chosen return to train, and bring it nearer to the chosen
    ones again. So on Gowalla half of the distance to the test set remains
    (``benchmarks/validation_shift.py``).

    Args:
        users: User of every interaction, in the file's own numbers from 0, shape (E,).
        items: Item of every interaction, likewise, shape (E,); items are numbered in the order in
            which they first appear.
        ratio: Share of the interactions, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Boolean mask of shape (E,) with about ``ratio * E`` True; each user keeps at least one
        interaction in train.

    Raises:
        ValueError: If the ratio is out of range, or the items' numbers do not tell an order.
    """
    rng = np.random.default_rng(seed)
    shape = users.max() + 1, items.max() + 1
    train = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), shape)
    rates = rates_of_later(train, rng)
    if not 0 < ratio < 1 / rates.max():
        raise ValueError(
            f"valid_ratio must be between 0 and {1 / rates.max():.2f} for later ones, got {ratio}"
        )
    mask = choose_validation(users, ratio * rates.max(), seed)
    mask[mask] = thin_to_later(train, users[mask], items[mask], rates, rng)
    return mask


def file_numbers(tokens: np.ndarray) -> np.ndarray:
    """Returns the numbers that a dataset's files use for internal ids; -1 for the padding.

    Args:
        tokens: External id of every internal id, padding first.

    Raises:
        ValueError: If an external id is not a whole number.
    """
    try:
        return np.concatenate([[-1], np.asarray(tokens[1:]).astype(np.int64)])
    except ValueError as error:
        raise ValueError(
            f"valid_choice later needs users and items numbered from 0 as in the LightGCN files: "
            f"{error}"
        ) from error


def brought_in(train: sp.csr_matrix) -> list[np.ndarray]:
    """Returns for each user the items that no earlier user has, in rising order.

    Args:
        train: Binary matrix in the file's own numbers from 0, shape (U, I).

    Raises:
        ValueError: If items are not numbered in the order in which they first appear.
    """
    by_user, known = [], 0
    for user in range(train.shape[0]):
        items = np.sort(train.indices[train.indptr[user] : train.indptr[user + 1]])
        new = items[items >= known]
        if not np.array_equal(new, np.arange(known, known + len(new))):
            raise ValueError(
                f"items are not numbered as they first appear in train: user {user} brings in item "
                f"{new[0]} where {known} would be next"
            )
        known += len(new)
        by_user.append(new)
    return by_user


def rates_of_later(train: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Returns how often a user's last items fall into each nearness class of random items.

    The classes are twenty equal parts of the nearness of random items.

    Args:
        train: Binary matrix in the file's own numbers from 0, shape (U, I).
        rng: Draws the random items.

    Returns:
        Shape (20,), by rising nearness, with mean 1; all 1 if the last items are like random ones.

    Raises:
        ValueError: If items are not numbered in the order in which they first appear, or no user
            brought in enough items.
    """
    users, last, drawn = [], [], []
    for user, new in enumerate(brought_in(train)):
        if len(new) < _LEAST:
            continue
        n = int(_LAST * len(new))
        users.append(np.full(n, user))
        last.append(new[-n:])
        drawn.append(rng.choice(new, n, replace=False))
    if not users:
        raise ValueError(f"no user brings in {_LEAST} items, so that later ones cannot be told")
    rows = np.concatenate(users)
    later, random = (_nearness_apart(train, rows, np.concatenate(items)) for items in (last, drawn))
    return np.bincount(_bins(later, random), minlength=_BINS) * _BINS / len(later)


def thin_to_later(
    train: sp.csr_matrix,
    users: np.ndarray,
    items: np.ndarray,
    rates: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Chooses among random interactions so that near ones are as rare as among later interactions.

    Args:
        train: Binary matrix that contains the random interactions, shape (U, I).
        users: Users of the random interactions, shape (n,).
        items: Items of the random interactions, shape (n,).
        rates: From :func:`rates_of_later`.
        rng: Draws the interactions that are kept.

    Returns:
        Boolean mask, shape (n,); about ``n / max(rates)`` entries are True.
    """
    cosines = _nearness_apart(train, users, items)
    return rng.random(len(users)) < rates[_bins(cosines, cosines)] / rates.max()


def _nearness_apart(train: sp.csr_matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Returns the nearness of some train pairs to the rest of train, in the order given."""
    apart = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), train.shape)
    of, which, cosines = pair_nearness(train - apart, apart)
    by_pair = np.lexsort((items, users))
    in_order = np.empty_like(cosines)
    in_order[by_pair] = cosines[np.lexsort((which, of))]
    return in_order


def _bins(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the number of the equal part of ``reference`` into which each value falls."""
    return np.digitize(values, np.quantile(reference, np.arange(1, _BINS) / _BINS))
