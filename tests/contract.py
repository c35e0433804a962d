"""Checks that every registered model must pass, shared by the tests of all model families."""

import pytest
import torch
from conftest import tiny_settings
from recbole.data.interaction import Interaction
from recbole.utils import ModelType

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.trainer import trainer_for


def built(name: str, path, folder, **changes):
    """Returns a model on the tiny dataset, its trainer and its data."""
    config = HillConfig(
        name, "tiny", None, tiny_settings(path, name, run_dir=str(folder), **changes)
    )
    data = load_data(config)
    model = build_model(config, data)
    return model, trainer_for(config, model), data


def check_training_and_scores(name: str, path, folder, **changes) -> None:
    """Checks that losses are finite and fall, that weights stay finite, and what is scored then."""
    model, trainer, data = built(name, path, folder, **{**changes, "epochs": 5})
    trainer.fit(data.train, data.valid)
    if hasattr(model, "fit_once"):
        assert model.fitted
    elif model.type != ModelType.TRADITIONAL:  # such a model is fitted when it is built
        totals = [total(loss) for loss in trainer.train_loss_dict.values()]
        assert all(abs(total) < float("inf") for total in totals)
        assert min(totals[1:]) < totals[0]
        assert all(torch.isfinite(p).all() for p in model.parameters())
    check_scores(model, trainer, data)


def check_scores(model, trainer, data) -> None:
    """Checks shapes, that ``predict`` equals ``full_sort_predict``, and lists without padding."""
    model.eval()
    dataset = data.train._dataset
    users = torch.tensor([1, 5, 80, 5]).clamp_max(dataset.user_num - 1)
    batch = Interaction({dataset.uid_field: users})
    with torch.no_grad():
        everything = model.full_sort_predict(batch).view(len(users), -1)
        assert everything.shape == (len(users), dataset.item_num)
        assert torch.isfinite(everything[:, 1:]).all()
        torch.testing.assert_close(everything[1], everything[3], rtol=1e-4, atol=1e-5)
        for item in (1, dataset.item_num - 1):
            batch = Interaction(
                {dataset.uid_field: users, dataset.iid_field: torch.full_like(users, item)}
            )
            single = model.predict(batch).view(-1)
            torch.testing.assert_close(single, everything[:, item], rtol=1e-4, atol=1e-5)
    served = LoadedRun(trainer.config, data, model)
    tokens = dataset.field2id_token[dataset.uid_field][1:4].tolist()
    listed = served.recommend(tokens, 10)
    assert all("[PAD]" not in {item for item, _ in row} for row in listed)


def check_reload(name: str, path, folder, **changes) -> None:
    """Checks that the same seed gives the same rows, and a saved run the same lists again."""
    settings = tiny_settings(path, name, checkpoint_dir=str(folder), **changes)
    first, second = (run(name, "tiny", overrides=settings) for _ in range(2))
    assert first.rows[0]["metrics"] == second.rows[0]["metrics"]
    lists = [LoadedRun.load(r.folder).recommend(["3", "7"], 5) for r in (first, second)]
    assert lists[0] == lists[1]


def check_learns(name: str, path, folder, least: float, **changes) -> None:
    """Checks that the model finds the planted groups: random lists have recall@10 of about .21."""
    if changes.get("epochs", 0) >= 10:  # a validation costs as much as an epoch on these data
        changes = {"eval_step": 5, **changes}
    settings = tiny_settings(path, name, checkpoint_dir=str(folder), **changes)
    metrics = run(name, "tiny", overrides=settings).rows[0]["metrics"]
    assert metrics["recall@10"] > least, metrics


def check_sparse_data(name: str, path, folder, **changes) -> None:
    """Checks training and scoring on data with a user with one item and an item seen once."""
    settings = {"data_path": str(path), "run_dir": str(folder), "epochs": 1, "topk": [3]}
    settings |= {"valid_metric": "NDCG@3", "state": "ERROR", "show_progress": False, **changes}
    config = HillConfig(name, "sparse", None, settings)
    data = load_data(config)
    model = build_model(config, data)
    trainer = trainer_for(config, model)
    trainer.fit(data.train, data.valid)
    result = trainer.evaluate(data.test, load_best_model=False)
    assert 0 <= result["recall@3"] <= 1


def total(loss) -> float:
    """Returns a loss as one number; RecBole's losses may come in parts."""
    return float(sum(loss)) if isinstance(loss, tuple) else float(loss)


def skip_without(package: str) -> None:
    """Skips the test if an optional library of ``[baselines]`` is not installed."""
    pytest.importorskip(package, reason=f"{package} comes with the extra [baselines]")
