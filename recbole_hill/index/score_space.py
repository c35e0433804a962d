"""The linear map to where lengths are scores, and distances what scores differ by."""

import numpy as np

from recbole_hill.index.hierarchy import BLOCK


def score_map(users: np.ndarray, about: np.ndarray | None = None) -> np.ndarray:
    """Returns R, of which |xR|^2 is the mean over users u of ((u - a)'x)^2, for any vector x.

    So |xR - yR|^2 is the mean square of what the scores of x and y differ by. It does not depend on
    how scores are split into users' and items' vectors: u, x and Au, A'^-1 x have the same ones,
    whatever A. R R' is S = E (u - a)(u - a)', as E ((u - a)'x)^2 = x' S x. Where x is a user's
    vector, give the items' for ``users``.

    Args:
        users: Shape (U, D).
        about: a, shape (D,); 0 if not given. With the mean, |xR| is the scores' deviation.

    Returns:
        R, shape (D, D), float32; its columns are orthogonal, the longest first. The sum of its
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
