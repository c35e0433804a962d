"""RDLAE against the conditions of its optimum, and at its limits against the models named there."""

import numpy as np
import pytest

_RIDGE = 7.0


def fitted(build, name: str, **changes):
    """Returns a model's weights and R^T R, without the padding item."""
    model, _ = build(name, reg_weight=_RIDGE, **changes)
    model.fit_once()
    matrix = model.matrix.toarray().astype(np.float64)[:, 1:]
    return model.weights[1:, 1:], matrix.T @ matrix


def regularizer(gram: np.ndarray, dropout: float) -> np.ndarray:
    return np.diag(dropout / (1 - dropout) * np.diag(gram) + _RIDGE)


@pytest.mark.parametrize(
    ("dropout", "bound"), [(0.0, 0.48), (0.5, 0.29), (0.7, 0.2), (0.5, 0.0), (0.5, 1.0)]
)
def test_the_conditions_of_karush_kuhn_and_tucker_hold(build, dropout, bound):
    """The problem is convex, so they suffice: half the gradient is minus the multipliers."""
    weights, gram = fitted(build, "RDLAE", dropout_rate=dropout, diagonal_bound=bound)
    multipliers = gram - (gram + regularizer(gram, dropout)) @ weights
    of_bounds, diagonal = np.diag(multipliers), np.diag(weights)
    close = {"rtol": 0, "atol": 1e-5 * gram.max()}
    np.testing.assert_allclose(multipliers, np.diag(of_bounds), **close)
    assert (of_bounds >= -close["atol"]).all()
    assert (diagonal <= bound + 1e-5).all()
    np.testing.assert_allclose(of_bounds * (bound - diagonal), 0, **close)
    at_bound = int((of_bounds > close["atol"]).sum())
    assert at_bound == {0.0: 48, 1.0: 0}.get(bound, at_bound)
    if 0 < bound < 1:
        assert 0 < at_bound < 48


def test_limits(build):
    """EASE, EDLAE (Steck, 2020) and the ridge regression without a bound."""
    ease, gram = fitted(build, "EASE")
    found, _ = fitted(build, "RDLAE", dropout_rate=0.0, diagonal_bound=0.0)
    np.testing.assert_allclose(found, ease, atol=1e-5)

    found, _ = fitted(build, "RDLAE", dropout_rate=0.5, diagonal_bound=0.0)
    inverse = np.linalg.inv(gram + regularizer(gram, 0.5))
    edlae = np.eye(len(gram)) - inverse / np.diag(inverse)
    np.testing.assert_allclose(found, edlae, atol=1e-5)

    found, _ = fitted(build, "RDLAE", dropout_rate=0.5, diagonal_bound=1.0)
    ridge = np.linalg.solve(gram + regularizer(gram, 0.5), gram)
    np.testing.assert_allclose(found, ridge, atol=1e-5)
