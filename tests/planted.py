"""Planted answers: item vectors with a known tree, and users who sit in a leaf of it."""

import numpy as np


def planted_hierarchy(rng, n_coarse: int, n_fine: int, n_items: int, dim: int = 16):
    """Makes well separated groups of groups.

    Returns:
        Item vectors (n_coarse * n_fine * n_items, dim) in random order, their fine label and their
        coarse label.
    """
    coarse = np.linalg.qr(rng.normal(size=(dim, dim)))[0][:n_coarse] * 10
    offsets = rng.normal(size=(n_coarse * n_fine, dim))
    offsets *= 2 / np.linalg.norm(offsets, axis=1, keepdims=True)
    fine = np.repeat(coarse, n_fine, axis=0) + offsets
    labels = rng.permutation(np.repeat(np.arange(n_coarse * n_fine), n_items))
    items = fine[labels] + rng.normal(scale=0.02, size=(len(labels), dim))
    return items.astype(np.float32), labels, labels // n_fine


def same_partition(a, b) -> bool:
    """Whether two labellings group the same rows together."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))
