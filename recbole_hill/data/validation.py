"""Which train interactions become validation: random ones, or ones like what comes later.

The LightGCN test sets are the latest interactions of their users, and lie farther from what the
users have than a random part of train does. Their files are sorted, so that the time is lost; but
where items are numbered as they first appear in train, those that a user *brought in*, which no
user before him has, stand in the order in which his line once listed them. They show how much
rarer a near item is among the last than among random ones; a random draw that is thinned by that is
a validation set more like the test set, without a look at it.
"""

import math

import numpy as np
import scipy.sparse as sp

from recbole_hill.data.nearness import pair_nearness

#: Equal parts of the random items' nearness in which the last items are counted.
_BINS = 20
#: A user counts from so many items brought in; this share of them, the last, are set apart.
_LEAST, _LAST = 10, 0.2


def choose_validation(users: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Chooses which train interactions become validation.

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

    Those that are drawn and not chosen go back to train and bring it nearer again, so that part of
    the way is left: half of it on Gowalla (``benchmarks/validation_shift.py``).

    Args:
        users: User of every interaction in the file's own numbers from 0, shape (E,).
        items: Its item likewise, shape (E,); items are numbered as they first appear.
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

    Raises:
        ValueError: If they are not whole numbers.
    """
    try:
        return np.concatenate([[-1], np.asarray(tokens[1:]).astype(np.int64)])
    except ValueError as error:
        raise ValueError(
            f"valid_choice later needs users and items numbered from 0 as in the LightGCN files: "
            f"{error}"
        ) from error


def brought_in(train: sp.csr_matrix) -> list[np.ndarray]:
    """Returns for each user the items that no user before him has, in rising order.

    Args:
        train: Binary matrix in the file's own numbers from 0, shape (U, I).

    Raises:
        ValueError: If items are not numbered as they first appear.
    """
    found, known = [], 0
    for user in range(train.shape[0]):
        items = np.sort(train.indices[train.indptr[user] : train.indptr[user + 1]])
        new = items[items >= known]
        if not np.array_equal(new, np.arange(known, known + len(new))):
            raise ValueError(
                f"items are not numbered as they first appear in train: user {user} brings in item "
                f"{new[0]} where {known} would be next"
            )
        known += len(new)
        found.append(new)
    return found


def rates_of_later(train: sp.csr_matrix, rng: np.random.Generator) -> np.ndarray:
    """Returns how often the last items fall into each twentieth of the random items' nearness.

    Args:
        train: Binary matrix in the file's own numbers from 0, shape (U, I).
        rng: Draws the random items.

    Returns:
        Shape (20,), by rising nearness, of mean 1; all 1 where the last are like any.

    Raises:
        ValueError: If items are not numbered as they first appear, or no user brought in enough.
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
    """Chooses among random interactions so that near ones are as rare as among later ones.

    Args:
        train: Binary matrix, the random interactions among it, shape (U, I).
        users: Users of the random interactions, shape (n,).
        items: Their items, shape (n,).
        rates: From :func:`rates_of_later`.
        rng: Draws which stay.

    Returns:
        Boolean mask, shape (n,), about ``n / max(rates)`` of it True.
    """
    cosines = _nearness_apart(train, users, items)
    return rng.random(len(users)) < rates[_bins(cosines, cosines)] / rates.max()


def _nearness_apart(train: sp.csr_matrix, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Nearness of some of train's pairs to the rest of it, in the order given."""
    apart = sp.csr_matrix((np.ones(len(users), np.float32), (users, items)), train.shape)
    of, which, cosines = pair_nearness(train - apart, apart)
    by_pair = np.lexsort((items, users))
    found = np.empty_like(cosines)
    found[by_pair] = cosines[np.lexsort((which, of))]
    return found


def _bins(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns in which equal part of the reference each value falls."""
    return np.digitize(values, np.quantile(reference, np.arange(1, _BINS) / _BINS))
