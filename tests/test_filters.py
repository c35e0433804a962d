"""Training-free models against dense NumPy references, and on Gowalla against their papers."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_hill.config.config import HillConfig
from recbole_hill.data.prepare.lightgcn import prepare
from recbole_hill.data.splits import load_data
from recbole_hill.model.baselines.chebycf import chebyshev_coefficients
from recbole_hill.model.baselines.ease import gram, invert_in_place
from recbole_hill.model.bases.spectral import Smoother, power
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run


@pytest.fixture(scope="module")
def built(tiny_path, tmp_path_factory):
    """Builds and fits a model on the planted data; returns it with its dense train matrix."""

    def build(name: str, **changes):
        folder = tmp_path_factory.mktemp("run")
        settings = {"data_path": str(tiny_path), "run_dir": str(folder), "state": "ERROR"}
        config = HillConfig(name, "tiny", None, {**settings, "topk": [5], **_NDCG5, **changes})
        model = build_model(config, load_data(config))
        model.fit_once()
        matrix = model.history if name == "SpectralMF" else model.matrix
        return model, matrix.toarray().astype(np.float64)

    return build


_NDCG5 = {"valid_metric": "NDCG@5"}


def dense_parts(matrix: np.ndarray):
    """Returns N^T N and the item degrees."""
    users, items = matrix.sum(1), matrix.sum(0)
    with np.errstate(divide="ignore"):
        scales = [np.where(d > 0, d**-0.5, 0) for d in (users, items)]
    normalized = scales[0][:, None] * matrix * scales[1]
    return normalized.T @ normalized, items


def ideal_projection(smoothing: np.ndarray, rank: int) -> np.ndarray:
    vectors = np.linalg.eigh(smoothing)[1][:, -rank:]
    return vectors @ vectors.T


def with_degrees(filter_: np.ndarray, degree: np.ndarray, exponent: float) -> np.ndarray:
    """Returns D^-e filter D^e, to be applied to rows."""
    before, after = (power(degree, e).astype(np.float64) for e in (-exponent, exponent))
    return before[:, None] * filter_ * after


def scores(model) -> np.ndarray:
    return model.scores(np.arange(model.n_users))


def close(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_gfcf(built):
    model, matrix = built("GF-CF", ideal_rank=5, ideal_weight=0.3)
    smoothing, degree = dense_parts(matrix)
    ideal = with_degrees(ideal_projection(smoothing, 5), degree, 0.5)
    close(scores(model), matrix @ (smoothing + 0.3 * ideal))


@pytest.mark.parametrize("merge", ["LM", "EM"])
@pytest.mark.parametrize(("solver", "steps"), [("rk4", 1), ("rk4", 3), ("euler", 2)])
def test_bspm_steps_the_differential_equation(built, merge, solver, steps):
    changes = {"sharpen_time": 1.5, "solver": solver, "n_steps": steps, "ideal_weight": 0.4}
    model, matrix = built(f"BSPM-{merge}", ideal_rank=5, **changes)
    smoothing, degree = dense_parts(matrix)
    ideal = 0.4 * matrix @ with_degrees(ideal_projection(smoothing, 5), degree, 0.5)

    def sharpen(state):
        h = 1.5 / steps
        for _ in range(steps):
            k1 = -state @ smoothing
            if solver == "euler":
                state = state + h * k1
                continue
            k2 = -(state + h / 2 * k1) @ smoothing
            k3 = -(state + h / 2 * k2) @ smoothing
            k4 = -(state + h * k3) @ smoothing
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return state

    blurred = matrix @ smoothing
    expected = sharpen(blurred + ideal) if merge == "EM" else sharpen(blurred) + ideal
    close(scores(model), expected)
    model.average_times = True
    half = sharpen(blurred + ideal) if merge == "EM" else sharpen(blurred)
    close(scores(model), (half + blurred) / 2 + (0 if merge == "EM" else ideal))


def test_bspm_without_sharpening_and_ideal_filter_blurs(built):
    model, matrix = built("BSPM-LM", sharpen_time=0.0, ideal_weight=0.0, ideal_rank=0)
    close(scores(model), matrix @ dense_parts(matrix)[0])


@pytest.mark.parametrize("changes", [{"merge": "middle"}, {"solver": "heun"}, {"ideal_rank": 500}])
def test_bspm_names_bad_settings(built, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        built("BSPM-LM", **{"ideal_rank": 5, **changes})


@pytest.mark.parametrize(("order", "flatness"), [(1, 2.0), (5, 1.5), (8, 10.0)])
def test_chebycf(built, order, flatness):
    changes = {"order": order, "flatness": flatness, "ideal_weight": 0.2, "degree_power": 0.4}
    model, matrix = built("ChebyCF", ideal_rank=5, **changes)
    smoothing, degree = dense_parts(matrix)
    values, vectors = np.linalg.eigh(np.eye(len(smoothing)) - 2 * smoothing)
    response = np.polynomial.chebyshev.chebval(values, chebyshev_coefficients(order, flatness))
    filter_ = (vectors * response) @ vectors.T + 0.2 * ideal_projection(smoothing, 5)
    close(scores(model), matrix @ with_degrees(filter_, degree, 0.4))


def test_chebyshev_coefficients_interpolate_the_plateau():
    """The polynomial takes, at the roots, the plateau's values at the extrema."""
    found = chebyshev_coefficients(4, 2.0)
    roots = np.cos(np.pi * (np.arange(5, 0, -1) - 0.5) / 5)
    plateau = [1.0, 0.75, 0.5, 0.25, 0.0]  # (1 - sign(x) x^2) / 2 at -1, -.707, 0, .707, 1
    np.testing.assert_allclose(np.polynomial.chebyshev.chebval(roots, found), plateau, atol=1e-3)
    with pytest.raises(ValueError, match="order"):
        chebyshev_coefficients(0, 1.0)
    with pytest.raises(ValueError, match="flatness"):
        chebyshev_coefficients(3, 0)


def test_ease(built):
    model, matrix = built("EASE", reg_weight=7.0)
    inverse = np.linalg.inv(matrix.T @ matrix + 7 * np.eye(matrix.shape[1]))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    close(model.weights, expected)
    close(scores(model), matrix @ expected)


@pytest.mark.parametrize(("response", "degree"), [(0.0, 0.4), (2.0, 0.5), (1.0, 0.0)])
def test_spectral_mf_is_the_filter_cut_to_its_rank(built, response, degree):
    settings = {"embedding_size": 5, "response_power": response, "degree_power": degree}
    model, matrix = built("SpectralMF", svd_iterations=30, **settings)
    smoothing, degrees = dense_parts(matrix)
    values, vectors = np.linalg.eigh(smoothing)  # of N^T N: squared singular values
    leading, basis = values[-5:], vectors[:, -5:]
    ideal = (basis * leading ** (response / 2)) @ basis.T
    users, items = (table.detach().numpy() for table in model.user_item_embeddings())
    close(users @ items.T, matrix @ with_degrees(ideal, degrees, degree))


@pytest.mark.parametrize(
    "changes", [{"embedding_size": 48}, {"embedding_size": 0}, {"svd_iterations": -1}]
)
def test_spectral_mf_names_bad_settings(built, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        built("SpectralMF", **{"embedding_size": 5, **changes})


def test_pop_counts_users_and_draws_nothing(built):
    model, matrix = built("Pop")
    close(scores(model), np.tile(matrix.mean(axis=0), (len(matrix), 1)))


def test_gram_in_blocks():
    matrix = sp.random(30, 11, 0.3, format="csr", dtype=np.float32, random_state=0)
    expected = (matrix.T @ matrix).toarray() + 2 * np.eye(11, dtype=np.float32)
    np.testing.assert_allclose(gram(matrix, 2.0, block=4), expected, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 4, 11, 50])
def test_inversion_in_blocks(block):
    factor = np.random.default_rng(0).normal(size=(11, 30))
    matrix = factor @ factor.T + np.eye(11)
    expected = np.linalg.inv(matrix)
    invert_in_place(matrix, block)
    np.testing.assert_allclose(matrix, expected, rtol=1e-9)


def test_smoother_leaves_padding_and_unseen_items_at_zero():
    matrix = sp.csr_matrix([[0, 0, 0], [0, 1, 0], [0, 1, 0]])
    smooth = Smoother(matrix, torch.device("cpu"))
    found = smooth(torch.ones(3, 2))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0], [1, 1], [0, 0]]))


def test_fitting_again_gives_the_same_scores(built):
    first, second = (scores(built("ChebyCF", ideal_rank=5)[0]) for _ in range(2))
    assert (first == second).all()


#: Published on the LightGCN split of Gowalla: recall@20, ndcg@20, and how near they must be.
PUBLISHED = {
    "GF-CF": (0.1849, 0.1518, 0.001),
    "BSPM-EM": (0.1920, 0.1597, 0.001),
    "ChebyCF": (0.1941, 0.1616, 0.001),
    "EASE": (0.176493, 0.146657, 0.0005),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_gowalla_as_published(name, shared_data, tmp_path):
    prepare("gowalla", shared_data / "gowalla", tmp_path / "dataset")
    settings = {"data_path": str(tmp_path / "dataset"), "checkpoint_dir": str(tmp_path / "saved")}
    settings |= {"protocol": "published", "state": "ERROR", "show_progress": False}
    metrics = run(name, "gowalla", overrides=settings).rows[0]["metrics"]
    recall, ndcg, within = PUBLISHED[name]
    assert metrics["recall@20"] == pytest.approx(recall, abs=within)
    assert metrics["ndcg@20"] == pytest.approx(ndcg, abs=within)
