"""Splits that RecBole does not have: one time for all users, whole users, whole items.

`recbole_hill.config.split` says what each is for.
"""

import numpy as np

#: Share of validation, and of test.
_SHARE = 0.1


def cut_by_time(times: np.ndarray) -> np.ndarray:
    """Cuts rows at two times, the same for all users.

    The test set begins with the time of the row after which a tenth of the rows lies, validation
    with the time of the row after which a fifth lies. Rows of one time are never apart, so that the
    later parts may be larger than a tenth.

    Args:
        times: Time of each row, shape (E,).

    Returns:
        0 (train), 1 (validation) or 2 (test) per row, shape (E,).
    """
    n = _tenth(len(times))
    ordered = np.sort(times)
    starts = ordered[max(len(times) - 2 * n, 0)], ordered[len(times) - n]
    return (times >= starts[0]).astype(np.int64) + (times >= starts[1])


def cut_by_id(ids: np.ndarray, seed: int) -> np.ndarray:
    """Draws a tenth of the ids for test and a tenth for validation, with all of their rows.

    Args:
        ids: User, or item, of each row, shape (E,).
        seed: Seed of the draw.

    Returns:
        0 (train), 1 (validation) or 2 (test) per row, shape (E,).
    """
    known, place = np.unique(ids, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(known))
    n = _tenth(len(known))
    part = np.zeros(len(known), dtype=np.int64)
    part[order[:n]], part[order[n : 2 * n]] = 2, 1
    return part[place]


def says(part: np.ndarray, users: np.ndarray, items: np.ndarray) -> str:
    """Returns how large the parts are, and how many test users and items are not in train.

    Args:
        part: From `cut_by_time` or `cut_by_id`, shape (E,).
        users: User of each row, shape (E,).
        items: Item of each row, shape (E,).
    """
    sizes = ", ".join(f"{n:,}" for n in np.bincount(part, minlength=3))
    cold = []
    for ids, name in ((users, "users"), (items, "items")):
        tested = np.unique(ids[part == 2])
        cold.append(f"{(~np.isin(tested, ids[part == 0])).sum():,} of {len(tested):,} test {name}")
    return f"{sizes} rows in train, validation and test; {' and '.join(cold)} have no row in train"


def _tenth(n: int) -> int:
    return max(1, int(_SHARE * n))
