"""How near held-out items are to what their users have in train: whether two sets are alike."""

import numpy as np
import scipy.sparse as sp

#: Users whose pairs are compared at once: a few million entries of the item-by-item matrix.
_BLOCK = 128


def nearness(train: sp.csr_matrix, held_out: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
    """Returns each user's mean, over the held-out items, of the largest cosine to a train item.

    Cosines are between columns of ``train``, the usual item-item similarity. Validation items that
    are nearer than test items are easier to find by similarity, and choosing on them favours
    methods that memorise.

    Args:
        train: Binary matrix, shape (U, I).
        held_out: Binary matrix of other interactions of the same users, shape (U, I).
        users: Row numbers, each with items in both, shape (n,).

    Returns:
        Shape (n,), between 0 and 1.

    Raises:
        ValueError: If a user has no item in one of them.
    """
    train, held_out = (sp.csr_matrix(x, dtype=np.float32) for x in (train, held_out))
    counts = [np.diff(x.indptr)[users] for x in (train, held_out)]
    if empty := [u for u, *n in zip(users, *counts, strict=True) if not all(n)]:
        raise ValueError(f"user {empty[0]} has no item in train or none held out")
    popularity = np.maximum(np.bincount(train.indices, minlength=train.shape[1]), 1)
    columns = (train @ sp.diags(1 / np.sqrt(popularity))).tocsc()
    found = []
    for start in range(0, len(users), _BLOCK):
        here = users[start : start + _BLOCK]
        pairs = held_out[here].tocoo()
        cosines = columns[:, pairs.col].T.tocsr() @ columns.tocsr()
        largest = cosines.multiply(train[here][pairs.row]).max(axis=1).toarray().ravel()
        found.append(np.bincount(pairs.row, largest) / np.bincount(pairs.row))
    return np.concatenate(found)
