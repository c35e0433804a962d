"""PGSP against the paper's definition, with dense matrices and the augmented graph itself."""

import numpy as np
import pytest


def reference(matrix: np.ndarray, rank: int, weight: float, power: float) -> np.ndarray:
    """Returns (1 - w) linear + w ideal, shape (U, I), of a matrix without empty rows."""
    users, items = matrix.sum(1), matrix.sum(0)
    graph = np.block(
        [
            [(matrix / items) @ matrix.T, matrix],
            [matrix.T, (matrix.T / users) @ matrix],
        ]
    )
    degree = graph.sum(axis=0)
    graph /= np.sqrt(np.outer(degree, degree))
    leading = np.linalg.eigh(graph)[1][:, -rank:]

    normalized = matrix / np.sqrt(np.outer(users, items))
    signals = np.hstack([normalized @ normalized.T, matrix])
    scale = signals.sum(axis=0) ** power
    ideal = (signals / scale) @ leading @ leading.T * scale
    linear = (matrix / items**power) @ normalized.T @ normalized * items**power
    return (1 - weight) * linear + weight * ideal[:, len(matrix) :]


@pytest.mark.parametrize(
    ("rank", "weight", "power"), [(5, 0.3, 0.5), (9, 1.0, 0.5), (5, 0.8, 0.0), (7, 0.6, 0.3)]
)
def test_scores_are_those_of_the_augmented_graph(build, rank, weight, power):
    model, _ = build("PGSP", ideal_rank=rank, ideal_weight=weight, degree_power=power)
    model.fit_once()
    matrix = model.matrix.toarray().astype(np.float64)
    users, items = (np.flatnonzero(matrix.sum(axis)) for axis in (1, 0))
    assert 0 not in users and 0 not in items  # the padding has no edge
    expected = reference(matrix[np.ix_(users, items)], rank, weight, power)
    found = model.scores(np.arange(model.n_users))
    np.testing.assert_allclose(
        found[np.ix_(users, items)], expected, atol=2e-4 * np.abs(expected).max()
    )
    assert not found[0].any() and not found[:, 0].any()
