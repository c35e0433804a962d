"""SVD-AE against the pseudo-inverse of the matrix cut to its rank."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_hill.model.bases.spectral import Smoother


@pytest.mark.parametrize("rank", [3, 8])
def test_scores_are_those_of_the_pseudo_inverse(build, rank):
    model, _ = build("SVD-AE", embedding_size=rank, svd_iterations=30)
    model.fit_once()
    matrix = model.history.toarray().astype(np.float64)
    degrees = np.outer(matrix.sum(1), matrix.sum(0))
    normalized = matrix / np.sqrt(np.where(degrees > 0, degrees, 1))
    left, values, right = np.linalg.svd(normalized)
    cut = (left[:, :rank] * values[:rank]) @ right[:rank]
    expected = normalized @ np.linalg.pinv(cut, rcond=1e-9) @ matrix
    users, items = (table.detach().numpy() for table in model.user_item_embeddings())
    assert users.shape[1] == rank
    np.testing.assert_allclose(users @ items.T, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "changes", [{"embedding_size": 48}, {"embedding_size": 0}, {"svd_iterations": -1}]
)
def test_bad_settings_are_named(build, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        build("SVD-AE", **{"embedding_size": 5, **changes})


def test_left_vectors_by_hand():
    """Users 1 and 2 share two items: the items' difference has the singular value 0."""
    smooth = Smoother(sp.csr_matrix([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), torch.device("cpu"))
    half = 0.5**0.5
    right = np.array([[half, 0, half], [half, 0, -half], [0, 1, 0]])
    left = np.array([[half, 0, 0], [half, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(smooth.left_vectors(right), left, atol=1e-6)
