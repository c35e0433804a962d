"""Fusion of finished runs: its scores by hand, what it refuses, and HILL on top."""

import shutil

import numpy as np
import pytest
from conftest import tiny_settings

from recbole_hill.model.fusion import deviations
from recbole_hill.pipeline import run
from recbole_hill.run.parent_runs import training_seconds
from recbole_hill.serve.loaded_run import LoadedRun

WIDTHS = {"BPR": 16, "SpectralMF": 4}


@pytest.fixture(scope="module")
def parts(tiny_path, tmp_path_factory):
    """Folders of two finished runs, by model."""
    root = tmp_path_factory.mktemp("parts")
    folders = {}
    for model, width in WIDTHS.items():
        settings = tiny_settings(
            tiny_path, model, checkpoint_dir=str(root), embedding_size=width, epochs=3
        )
        folders[model] = run(model, "tiny", overrides=settings).folder
    return folders


@pytest.fixture
def fuse(tiny_path, tmp_path, parts):
    """Runs a fusion: ``fuse(["BPR"], [1.0], 16)``."""

    def fuse(models, weights, width, model="Fusion", **changes):
        settings = tiny_settings(
            tiny_path, model, run_dir=str(tmp_path / "run"), embedding_size=width, **changes
        )
        settings.pop("ssl_warmup_epochs", None)  # NESCL's
        settings |= {
            "fuse_from": [str(parts.get(name, name)) for name in models],
            "fuse_weights": weights,
        }
        return run(model, "tiny", overrides=settings)

    return fuse


def scores(folder) -> np.ndarray:
    users, items = LoadedRun.load(folder).vectors
    return (users[1:] @ items[1:].T).detach().numpy().astype(np.float64)


def test_scores_are_the_weighted_sum_of_standardised_scores(fuse, parts):
    found = scores(fuse(["BPR", "SpectralMF"], [0.3, 2.0], 20).folder)
    expected = 0.0
    for model, weight in (("BPR", 0.3), ("SpectralMF", 2.0)):
        own = scores(parts[model])
        expected = expected + weight * own / own.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_one_run_alone_ranks_as_it_did(fuse, parts):
    result = fuse(["BPR"], [1.0], 16)
    before = LoadedRun.load(parts["BPR"])
    users = [str(token) for token in range(5)]
    lists = [
        [[item for item, _ in row] for row in served.recommend(users, 10)]
        for served in (before, LoadedRun.load(result.folder))
    ]
    assert lists[0] == lists[1]


def test_a_finished_fusion_needs_its_parts_no_more(fuse, parts, tmp_path):
    copies = {name: tmp_path / name for name in parts}
    for name, copy in copies.items():
        shutil.copytree(parts[name], copy)
    folder = fuse([str(copy) for copy in copies.values()], [1.0, 1.0], 20).folder
    before = scores(folder)
    for copy in copies.values():
        shutil.rmtree(copy)
    np.testing.assert_array_equal(scores(folder), before)


def test_deviations_are_numpys_and_never_zero():
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(20, 3))
    users[2] = 0
    expected = (users @ items[1:].T).std(axis=1)
    expected[2] = 1
    np.testing.assert_allclose(deviations(users, items.astype(np.float32)), expected, rtol=1e-5)
    one_dimension = deviations(users[:, :1], items[:, :1].astype(np.float32))
    np.testing.assert_allclose(
        one_dimension[0], np.abs(users[0, 0]) * items[1:, 0].std(), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("models", "weights", "width", "error"),
    [
        (["BPR", "SpectralMF"], [1.0, 1.0], 16, r"have 16 \+ 4 = 20 dimensions"),
        (["BPR", "SpectralMF"], [1.0], 20, "fuse_weights must be a list of 2 numbers"),
        (["BPR"], [True], 16, "fuse_weights must be a list of"),
        ([], [], 16, "fuse_from must be a list of folders"),
        (["nowhere"], [1.0], 16, "fuse_from must name a finished run's folder; nowhere has no"),
    ],
)
def test_what_does_not_fit_is_refused(fuse, models, weights, width, error):
    with pytest.raises(ValueError, match=error):
        fuse(models, weights, width)


def test_a_run_of_another_split_is_refused(fuse):
    with pytest.raises(ValueError, match="was made on other data"):
        fuse(["BPR"], [1.0], 16, split_seed=7)


def test_a_model_without_vectors_is_refused(fuse, tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "GF-CF", run_dir=str(tmp_path / "filter"), ideal_rank=4)
    folder = run("GF-CF", "tiny", overrides=settings).folder
    with pytest.raises(ValueError, match="GF-CF, whose scores are no inner product"):
        fuse([str(folder)], [1.0], 16)


@pytest.fixture
def refitted(tiny_path, tmp_path):
    """Folders of two finished ``refit`` runs."""
    folders = []
    for model, width in WIDTHS.items():
        settings = tiny_settings(tiny_path, model, embedding_size=width, epochs=2, protocol="refit")
        settings["run_dir"] = str(tmp_path / model)
        folders.append(run(model, "tiny", overrides=settings).folder)
    return folders


def test_a_refit_is_chosen_by_the_runs_that_chose_for_its_parts(fuse, refitted):
    weights, width = [1.0, 1.0], 20
    result = fuse(list(map(str, refitted)), weights, width, protocol="refit")
    for name, folder in (("chooser", result.folder / "holdout"), ("itself", result.folder)):
        parts = refitted if name == "itself" else [part / "holdout" for part in refitted]
        expected = sum(own / own.std(axis=1, keepdims=True) for own in map(scores, parts))
        np.testing.assert_allclose(scores(folder), expected, rtol=1e-4, atol=1e-4)
    assert result.stages["backbone"]["trained_seconds"] == pytest.approx(
        sum(map(training_seconds, refitted)), abs=0.1
    )


def test_a_refit_of_what_was_not_refitted_is_refused(fuse, parts):
    with pytest.raises(ValueError, match=r"fuse_from: .* is no run of --protocol=refit"):
        fuse(["BPR"], [1.0], 16, protocol="refit")


def test_hill_indexes_the_sum(fuse):
    result = fuse(["BPR", "SpectralMF"], [1.0, 1.0], 20, model="HILL", backbone="Fusion")
    arms = {row["arm"]: row for row in result.rows}
    assert {"backbone", "continue", "pairs", "HILL"} <= set(arms)
    served = LoadedRun.load(result.folder)
    assert served.index is not None and served.vectors[1].shape[1] == 20
