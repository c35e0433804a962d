"""A linear map after which lengths are scores, and distances are differences of scores."""

import numpy as np

from recbole_hill.index.hierarchy import BLOCK


def score_map(users: np.ndarray, about: np.ndarray | None = None) -> np.ndarray:
    """Returns R such that |xR|^2 is the mean over users u of ((u - a)'x)^2, for any vector x.

    So |xR - yR|^2 is the mean square difference between the scores of x and y. It does not depend
    on how scores are split into user and item vectors: u, x and Au, A'^-1 x give the same scores
    for any invertible A. R R' equals S = E (u - a)(u - a)', because E ((u - a)'x)^2 = x' S x. Where
    x is a user's vector, pass the item vectors as ``users``.

    Args:
        users: Shape (U, D).
        about: a, shape (D,); 0 if not given. If a is the mean, |xR| is the standard deviation of
            the scores.

    Returns:
        R, shape (D, D), float32. Its columns are orthogonal, the longest first. The sum of its
        squares is the mean of |u - a|^2.
    """
    moment = np.zeros((users.shape[1],) * 2)
    for start in range(0, len(users), BLOCK):
        part = users[start : start + BLOCK].astype(np.float64)
        part = part if about is None else part - about
        moment += part.T @ part
    values, directions = np.linalg.eigh(moment / len(users))
    root = (directions * np.sqrt(values.clip(min=0)))[:, ::-1]
    return np.ascontiguousarray(root, dtype=np.float32)
