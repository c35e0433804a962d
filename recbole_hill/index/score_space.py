"""The linear map to where squared distances are what users' scores differ by."""

import numpy as np

from recbole_hill.index.hierarchy import BLOCK


def score_map(users: np.ndarray, about: np.ndarray | None = None) -> np.ndarray:
    """Returns R, of which |xR - yR|^2 is the mean over users u of ((u - a)'x - (u - a)'y)^2.

    E ((u - a)'(x - y))^2 = (x - y)' S (x - y) for S = E (u - a)(u - a)' = R R'. Distances after the
    map do not depend on how scores are split into users' and items' vectors: u, x and Au, A'^-1 x
    have the same ones, whatever A.

    Args:
        users: Shape (U, D).
        about: a, shape (D,); 0 if not given.

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
