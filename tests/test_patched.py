"""RecBole's graph models on today's SciPy: the matrix by hand, and a step of training."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_settings
from recbole.data.interaction import Interaction
from recbole.model.general_recommender.lightgcn import LightGCN

from recbole_hill.model import patched
from recbole_hill.pipeline import run
from recbole_hill.run import checkpoint

MATRIX = sp.coo_matrix(np.array([[0, 0, 0], [0, 1, 1], [0, 1, 0]], dtype=np.float32))


class Holder:
    interaction_matrix = MATRIX
    n_users = n_items = 3


def test_symmetric_normalisation_by_hand():
    dense = patched._SymmetricNormalisation.get_norm_adj_mat(Holder()).to_dense()
    expected = torch.zeros(6, 6)
    # degrees: users 0, 2, 1; items 0, 2, 1
    for user, item, value in ((1, 1, 1 / 2), (1, 2, 1 / np.sqrt(2)), (2, 1, 1 / np.sqrt(2))):
        expected[user, 3 + item] = expected[3 + item, user] = value
    torch.testing.assert_close(dense, expected, atol=1e-6, rtol=1e-6)


def test_spectral_laplacian_by_hand():
    dense = patched.SpectralCF.get_laplacian_matrix(Holder()).to_dense()
    assert torch.allclose(dense.diagonal(), torch.ones(6))
    torch.testing.assert_close(dense[1, 4:].tolist(), [-0.5, -0.5], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(dense.sum(1)[[1, 2, 4, 5]], torch.zeros(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["LightGCN", "NGCF", "recbole.GCMC", "NCL", "SpectralCF"])
def test_every_patched_model_learns(name, tiny_path, in_tmp):
    settings = {"epochs": 12, "learning_rate": 0.02, "eval_step": 12}
    if name == "NCL":  # its default of 1,000 clusters is more than there are users
        settings |= {"num_clusters": 8}
    row = run(name, "tiny", overrides=tiny_settings(tiny_path, name, **settings)).rows[0]
    assert row["metrics"]["recall@10"] > 0.35  # random lists have about .24


def test_cached_vectors_are_those_of_the_best_epoch(in_tmp):
    """RecBole's LightGCN scores from a cache: after the best weights load, it must be theirs."""
    from recbole_hill.serve.loaded_run import LoadedRun

    settings = {"epochs": 3, "state": "ERROR", "show_progress": False, "learning_rate": 0.05}
    served = LoadedRun.load(run("LightGCN", "ml-100k", overrides=settings).folder)
    users, items = served.model.forward()
    torch.testing.assert_close(served.model.restore_user_e, users)
    torch.testing.assert_close(served.model.restore_item_e, items)


@pytest.mark.parametrize(
    "model", ["recbole.BPR", "recbole.ENMF", "recbole.Pop", "MultiDAE", "recbole.ItemKNN"]
)
def test_recboles_models_run_and_reload_by_name(model, tiny_path, in_tmp):
    from recbole_hill.serve.loaded_run import LoadedRun

    result = run(model, "tiny", overrides=tiny_settings(tiny_path, model, epochs=1))
    assert [row["arm"] for row in result.rows] == [model]
    listed = LoadedRun.load(result.folder).recommend(["3"], 5)[0]
    assert len(listed) == 5 and listed == sorted(listed, key=lambda pair: -pair[1])


def test_line_goes_on_with_its_negative_users(build):
    model, batch = build("LINE", train_batch_size=50)  # 80 users: most draws shuffle anew
    for _ in range(5):
        model.calculate_loss(batch)
    weights, drawn = checkpoint.model_weights(model), checkpoint.random_state()
    expected = [model.calculate_loss(batch).item() for _ in range(8)]
    again, _ = build("LINE", train_batch_size=50)
    checkpoint.set_model_weights(again, weights)
    checkpoint.restore_random_state(drawn)
    assert [again.calculate_loss(batch).item() for _ in range(8)] == expected
    assert sorted(again.random_list) == list(range(1, 81))


def test_line_takes_a_run_from_before_the_list_was_kept(build):
    model, _ = build("LINE")
    users = model.negative_users
    checkpoint.set_model_weights(model, dict(model.state_dict()))
    assert torch.equal(model.negative_users, users)


def test_lightgcn_draws_pairs_as_its_setting_says(build):
    """Given one draw, the loss is RecBole's on that draw; users are drawn alike under ``user``."""
    model, batch = build("LightGCN")
    torch.manual_seed(1)
    user, positive, negative = model.draw(batch)
    assert model.sampler.has(user, positive).all() and not model.sampler.has(user, negative.T).any()
    pairs = {"user_id": user, "item_id": positive, "neg_item_id": negative[:, 0]}
    expected = LightGCN.calculate_loss(model, Interaction(pairs))
    torch.manual_seed(1)
    torch.testing.assert_close(model.calculate_loss(batch), expected)

    with pytest.raises(ValueError, match="n_negatives must be 1 for LightGCN, got 2"):
        build("LightGCN", n_negatives=2)
