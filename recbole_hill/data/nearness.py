"""How near held-out items are to their users' train items; tells whether two sets are alike."""

import numpy as np
import scipy.sparse as sp

#: Number of held-out pairs that are compared at once: about ten million cosines.
_BLOCK = 4096


def unit_columns(train: sp.csr_matrix) -> sp.csr_matrix:
    """Scales the columns of a binary matrix to length 1, so that their products are cosines."""
    popularity = np.maximum(np.bincount(train.indices, minlength=train.shape[1]), 1)
    return (train @ sp.diags((1 / np.sqrt(popularity)).astype(np.float32))).tocsr()


def pair_nearness(
    train: sp.csr_matrix, held_out: sp.csr_matrix
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for every held-out pair, the largest cosine of its item to a train item of its user.

    The cosines are between columns of ``train``, the usual item-item similarity. If validation
    items are nearer than test items, they are easier to find by similarity; a choice made on them
    then favours models that memorise.

    Args:
        train: Binary matrix, shape (U, I).
        held_out: Binary matrix of other interactions of the same users, shape (U, I).

    Returns:
        Users, items and cosines between 0 and 1, shape (n,) each, ordered by user and item.
    """
    train = sp.csr_matrix(train, dtype=np.float32)
    columns = unit_columns(train)
    rows = columns.T.tocsr()
    held_out = sp.csr_matrix(held_out)
    held_out.sort_indices()
    users = np.repeat(np.arange(held_out.shape[0]), np.diff(held_out.indptr))
    items = held_out.indices.astype(np.int64)
    nearest = np.zeros(len(items), dtype=np.float32)
    for start in range(0, len(items), _BLOCK):
        here = slice(start, start + _BLOCK)
        cosines = rows[items[here]] @ columns
        nearest[here] = cosines.multiply(train[users[here]]).max(axis=1).toarray().ravel()
    return users, items, nearest


def nearness(train: sp.csr_matrix, held_out: sp.csr_matrix, users: np.ndarray) -> np.ndarray:
    """Returns each user's mean of :func:`pair_nearness` over the user's held-out items.

    Args:
        train: Binary matrix, shape (U, I).
        held_out: Binary matrix of other interactions of the same users, shape (U, I).
        users: Row numbers, shape (n,). Each row has items in both matrices.

    Returns:
        Shape (n,), between 0 and 1.

    Raises:
        ValueError: If a user has no item in one of the matrices.
    """
    train, held_out = sp.csr_matrix(train), sp.csr_matrix(held_out)
    counts = [np.diff(x.indptr)[users] for x in (train, held_out)]
    if empty := [u for u, *n in zip(users, *counts, strict=True) if not all(n)]:
        raise ValueError(f"user {empty[0]} has no item in train or none held out")
    chosen = np.zeros(train.shape[0], dtype=np.float32)
    chosen[users] = 1
    of, _, cosines = pair_nearness(train, sp.diags(chosen) @ held_out)
    total = np.bincount(of, cosines, minlength=len(chosen))
    return total[users] / counts[1]
