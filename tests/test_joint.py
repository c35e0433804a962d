"""HILL with its index learnt by gradient: the loss by hand, the stages, resume, and no leaks."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_settings
from test_hill import Killed, same_weights
from tiny_models import MODELS, NEEDS

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.index.gradient import BALANCE_BATCHES
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.schedules import Balance
from recbole_hill.model.baselines.ssm import MFSSM
from recbole_hill.model.build import build_model
from recbole_hill.model.losses import bpr
from recbole_hill.pipeline import run
from recbole_hill.train.trainer import RunTrainer, trainer_for

LEARNING = {
    "nodes_per_depth": [12, 4],
    "index_epochs": 3,
    "adapt_control": ["continue"],
    "state": "INFO",
    "epochs": 6,
}


def settings_of(tiny_path, root, **changes) -> dict:
    return tiny_settings(
        tiny_path,
        "HILL",
        **{
            **LEARNING,
            "checkpoint_dir": str(root),
            "em_rounds": 0,
            "learning_rate": 0.001,
            **changes,
        },
    )


@pytest.fixture(scope="module", params=["joint", "separate"])
def learnt(request, tiny_path, tmp_path_factory):
    """A finished run whose index was learnt by gradient."""
    root = tmp_path_factory.mktemp("saved")
    return run("HILL", "tiny", overrides=settings_of(tiny_path, root, index_learning=request.param))


def learning(result) -> str:
    return result.rows[0]["settings"]["index_learning"]


def test_stages_arms_and_loads(learnt):
    assert [row["arm"] for row in learnt.rows] == ["backbone", "continue", "pairs", "HILL"]
    loads = learnt.stages["index"]["loads"]
    assert [load["nodes"] for load in loads] == [12, 4]
    index = HierarchicalIndex.load(learnt.folder / "index.npz")
    assert index.nodes_per_depth == tuple(load["used"] for load in loads)
    log = (learnt.folder / "run.log").read_text()
    assert "index, depth 1:" in log and "nodes used, largest" in log
    assert ("index_learning" in learnt.stages) == (learning(learnt) == "separate")


def test_the_planted_groups_are_the_coarse_nodes(learnt):
    index = HierarchicalIndex.load(learnt.folder / "index.npz")
    group = index.items.astype(int) // 12
    node = index.assignments(2)
    # Most items of a node are of one planted group.
    right = sum(np.bincount(group[node == n]).max() for n in range(index.nodes_per_depth[1]))
    assert right / len(group) > 0.7


def test_only_joint_learning_touches_the_backbone(learnt, tiny_path, tmp_path):
    by_em = run("HILL", "tiny", overrides=settings_of(tiny_path, tmp_path))
    first, second = (r.folder / "backbone.safetensors" for r in (learnt, by_em))
    from recbole_hill.run.checkpoint import load_weights

    ours, theirs = load_weights(first), load_weights(second)
    same = all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert same == (learning(learnt) == "separate")
    assert any(name.startswith("learner.nodes") for name in ours)


def test_resume_to_the_same_bits(learnt, tiny_path, tmp_path, monkeypatch):
    stage = "backbone" if learning(learnt) == "joint" else "index_learning"
    original = RunTrainer._save_state

    def save_then_die(self, at, loader):
        original(self, at, loader)
        if self._stage == stage and at == 2:
            raise Killed

    monkeypatch.setattr(RunTrainer, "_save_state", save_then_die)
    with pytest.raises(Killed):
        settings = settings_of(tiny_path, tmp_path, index_learning=learning(learnt))
        run("HILL", "tiny", overrides=settings)
    monkeypatch.undo()
    resumed = run(resume=str(next(tmp_path.glob("HILL-*"))))
    assert [r["metrics"] for r in resumed.rows] == [r["metrics"] for r in learnt.rows]
    for name in ("backbone", "indexed", "adapted"):
        assert same_weights(resumed.folder, name, learnt.folder, name), name
    arrays = [dict(np.load(result.folder / "index.npz")) for result in (learnt, resumed)]
    for key in arrays[0]:
        np.testing.assert_array_equal(arrays[0][key], arrays[1][key])


def model_and_batch(tiny_path, tmp_path, **changes):
    changes = {**LEARNING, "index_learning": "joint", "run_dir": str(tmp_path), **changes}
    settings = tiny_settings(tiny_path, "HILL", **changes)
    if settings.get("backbone", "NESCL") != "NESCL":
        settings.pop("ssl_warmup_epochs", None)
    config = HillConfig("HILL", "tiny", None, settings)
    data = load_data(config)
    model = build_model(config, data)
    trainer = trainer_for(config, model)
    model.learner.precision = torch.float32
    model.learner.set_schedule(len(data.train))
    model.begin_epoch(model.learner.first_epoch)
    return model.train(), next(iter(data.train)), trainer


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
@pytest.mark.parametrize("backbone", ["LightGCN", "MF-SSM"])
def test_index_loss_by_hand(tiny_path, tmp_path, backbone, direction):
    model, batch, _ = model_and_batch(
        tiny_path,
        tmp_path,
        backbone=backbone,
        index_direction=direction,
        index_weight=0.7,
        index_balance=5.0,
        index_warmup_epochs=2,
        index_batch=100,
    )
    users, items = model.user_item_embeddings()
    torch.manual_seed(3)
    found = model.index_loss(users, items, batch)
    # The same draws; pseudo items of the batch's and the drawn items, at the same temperature.
    torch.manual_seed(3)
    user, item = batch["user_id"][:100], batch["item_id"][:100]
    assert len(batch["user_id"]) > 100
    drawn = torch.randint(1, model.n_items, (128,))
    negative = drawn[torch.randint_like(item, 128)]
    present = sorted(set(item.tolist()) | set(drawn.tolist()))
    model.learner.step.zero_()
    for balance in model.learner.balance:
        balance.forget()
    learnt = model.learner(items[present])
    row = {i: n for n, i in enumerate(present)}
    ranking = []
    for pseudo in learnt.at_depth:
        positives = pseudo[[row[i] for i in item.tolist()]]
        if backbone == "LightGCN":
            negatives = pseudo[[row[i] for i in negative.tolist()]]
            query = users[user]
            ranking.append(bpr((query * positives).sum(1), (query * negatives).sum(1)))
        else:  # softmax over the batch's items, drawn or not
            logits = users[user] @ positives.T / model.backbone.tau
            if model.backbone.in_batch:
                ranking.append((logits.logsumexp(1) - logits.diagonal()).mean())
            else:
                other = pseudo[[row[i] for i in negative.tolist()]]
                difference = (users[user] * (other - positives)).sum(1) / model.backbone.tau
                ranking.append(torch.nn.functional.softplus(difference).mean())
    steps = model.learner.schedule.warmup_steps
    expected = 0.7 / steps * (sum(ranking) / 2 + learnt.reconstruction + 5 * learnt.balance)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", ["LightGCN", "MGDCF"])
def test_the_whole_loss_is_the_backbones_and_the_index(tiny_path, tmp_path, backbone):
    model, batch, _ = model_and_batch(tiny_path, tmp_path, backbone=backbone)
    torch.manual_seed(0)
    loss, users, items = model.loss_and_vectors(batch)
    times = len(batch["item_id"]) if backbone == "MGDCF" else 1  # whose loss is a sum
    expected = loss + times * model.index_loss(users, items, batch)
    model.learner.step.zero_()
    for balance in model.learner.balance:
        balance.forget()
    torch.manual_seed(0)
    torch.testing.assert_close(model.calculate_loss(batch), expected)
    torch.manual_seed(0)
    torch.testing.assert_close(model.backbone_loss(batch), loss)


@pytest.mark.parametrize("backbone", ["LightGCN", "recbole.BPR", "MF-SSM"])
def test_loss_and_vectors_are_the_backbones_own(tiny_path, tmp_path, backbone, monkeypatch):
    model, batch, _ = model_and_batch(tiny_path, tmp_path, backbone=backbone)
    kind, passes = type(model.backbone), []
    if backbone == "LightGCN":
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self: passes.append(1) or forward(self))
    torch.manual_seed(0)
    loss, users, items = model.loss_and_vectors(batch)
    assert len(passes) == (backbone == "LightGCN")  # one propagation serves both
    torch.manual_seed(0)
    expected = model.backbone.calculate_loss(batch)
    torch.testing.assert_close(loss, sum(expected) if isinstance(expected, tuple) else expected)
    for pair in zip((users, items), model.user_item_embeddings(), strict=True):
        torch.testing.assert_close(*pair)
    assert "forward" not in vars(model.backbone)


def test_gradients_reach_the_item_embeddings_through_the_nodes(tiny_path, tmp_path):
    model, batch, _ = model_and_batch(tiny_path, tmp_path, backbone="LightGCN")
    users, items = model.user_item_embeddings()
    model.index_loss(users, items, batch).backward()
    assert model.backbone.item_embedding.weight.grad.abs().sum() > 0
    assert all(nodes.grad.abs().sum() > 0 for nodes in model.learner.nodes)


def test_a_share_of_the_gradient_reaches_the_item_embeddings(tiny_path, tmp_path):
    """The loss is the same; users, whose vectors no node stands between, learn as before."""
    found = []
    for share in (1.0, 0.25, 0.0):
        changes = {"backbone": "LightGCN", "index_gradient": share}
        model, batch, _ = model_and_batch(tiny_path, tmp_path, **changes)
        users, items = (x.detach().requires_grad_() for x in model.user_item_embeddings())
        torch.manual_seed(1)
        loss = model.index_loss(users, items, batch)
        loss.backward()
        found.append((loss.item(), users.grad, items.grad))
    whole, quarter, none = found
    assert whole[0] == pytest.approx(quarter[0]) == pytest.approx(none[0])
    torch.testing.assert_close(quarter[2], 0.25 * whole[2])
    assert whole[2].abs().max() > 0 and none[2].abs().max() == 0
    torch.testing.assert_close(none[1], whole[1])


def test_each_trick_switches_off_alone(tiny_path, tmp_path):
    """Table 4: temperature schedule, balance, warm-up."""

    def first_step(**changes):
        changes = {"backbone": "LightGCN", "index_warmup_epochs": 1, **changes}
        model, _, _ = model_and_batch(tiny_path, tmp_path, **changes)
        return model.learner.schedule.alpha_at(0), model.learner.weight(), model.learner

    alpha, weight, learner = first_step()
    last = learner.schedule.alpha
    assert alpha < last and weight < 1 and learner.settings.index_balance > 0
    assert first_step(index_alpha_power=0)[:2] == (last, weight)
    assert first_step(index_balance=0)[:2] == (alpha, weight)
    assert first_step(index_warmup_epochs=0)[:2] == (alpha, 1)


def test_the_nodes_start_from_items_after_the_backbones_first_epochs(tiny_path, tmp_path):
    settings = settings_of(tiny_path, tmp_path, index_learning="joint")
    settings["run_dir"] = str(tmp_path)
    config = HillConfig("HILL", "tiny", None, settings)
    data = load_data(config)
    model = build_model(config, data)
    model.begin_epoch(0)
    assert not model.learner.started
    model.begin_epoch(1)
    assert model.learner.started
    items = model.vectors()[1][1:]
    gap = torch.cdist(items, model.learner.nodes[0]).min(1).values.mean()
    assert gap < torch.cdist(items, items).mean()


def test_nodes_that_start_from_random_draws_stay_where_no_item_is(tiny_path, tmp_path):
    """As the paper writes it: neither k-means before, nor nodes that are moved to items."""
    changes = {"index_start": "random", "index_revive": False, "seed": 5}
    model, _, _ = model_and_batch(tiny_path, tmp_path, **changes)
    items = model.eval().vectors()[1][1:].detach()
    scale = items.square().mean().sqrt()
    draws = np.random.default_rng(5)
    for nodes in model.learner.nodes:
        drawn = torch.from_numpy(draws.standard_normal(nodes.shape, dtype=np.float32))
        torch.testing.assert_close(nodes.detach(), drawn * scale)
    before = [nodes.detach().clone() for nodes in model.learner.nodes]
    assert model.learner.usage_of(items)[0].used < 12
    model.begin_epoch(2)
    assert all(map(torch.equal, model.learner.nodes, before))
    model.learner.revives = True
    model.begin_epoch(3)
    assert not torch.equal(model.learner.nodes[0], before[0])


def test_the_nodes_rate_follows_the_vectors(tiny_path, tmp_path):
    """From tables of 1e-4 a rate that is set once would keep the nodes where they began."""
    changes = {"index_learning": "joint", "backbone": "BPR", "init_std": 1e-4, "epochs": 5}
    changes |= {"lr_rule": "exponential", "lr_factor": 0.5, "run_dir": str(tmp_path)}
    settings = settings_of(tiny_path, tmp_path, **changes)
    settings.pop("ssl_warmup_epochs", None)  # NESCL's
    config = HillConfig("HILL", "tiny", None, settings)
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    first = trainer.optimizer.param_groups[1]["lr"]
    trainer.fit(data.train, data.valid)
    trainer._set_rate(5)
    base, nodes = trainer.optimizer.param_groups
    scale = float(trainer.model.vectors()[1][1:].square().mean().sqrt())
    share = base["lr"] / config["learning_rate"]
    assert nodes["lr"] == pytest.approx(config["index_learning_rate"] * scale * share)
    assert nodes["lr"] > first * share


EPOCHWISE = [name for name in MODELS if name not in NEEDS]


@pytest.mark.parametrize("backbone", EPOCHWISE)
def test_every_embedding_model_can_learn_its_index_jointly(tiny_path, in_tmp, backbone):
    from recbole_hill import registry
    from recbole_hill.model.bases.embedding import EmbeddingModel

    kind = registry.find(backbone).load()
    if not issubclass(kind, EmbeddingModel):
        pytest.skip(f"{backbone} has no item vectors")
    changes = {k: v for k, v in MODELS[backbone][1].items() if k not in ("epochs", "eval_step")}
    if hasattr(kind, "fit_once"):
        with pytest.raises(ValueError, match=f"index_learning joint .* {backbone} is fitted"):
            model_and_batch(tiny_path, in_tmp, backbone=backbone, **changes)
        return
    model, batch, _ = model_and_batch(tiny_path, in_tmp, backbone=backbone, **changes)
    loss = model.calculate_loss(batch)
    loss = sum(loss) if isinstance(loss, tuple) else loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(nodes.grad.abs().sum() > 0 for nodes in model.learner.nodes)


def test_joint_learning_refuses_a_trained_backbone(tiny_path, tmp_path, learnt):
    settings = settings_of(
        tiny_path, tmp_path, index_learning="joint", backbone_from=str(learnt.folder)
    )
    with pytest.raises(ValueError, match="backbone_from gives a trained backbone"):
        run("HILL", "tiny", overrides=settings)


def test_loads_are_in_the_stages_as_plain_data(learnt):
    stages = json.loads((learnt.folder / "stages.json").read_text())
    load = stages["index"]["loads"][0]
    assert set(load) == {"nodes", "used", "largest", "entropy"}


def test_corrected_rivals_stand_for_all_items(build):
    """Each rival over its popularity: in expectation the softmax over every item once."""
    model, _ = build("MF-SSM", rivals="corrected", tau=0.5, embedding_size=4)
    assert isinstance(model, MFSSM)
    torch.manual_seed(0)
    users, items = (x.detach() for x in model.user_item_embeddings())
    user, item = torch.tensor([3, 5, 5]), torch.tensor([7, 7, 9])
    popularity = model.popularity
    logits = users[user] @ items[item].T / 0.5
    log_sums = (logits.exp() / popularity[item]).sum(1).log()
    expected = (log_sums - logits.diagonal()).mean()
    found = model.ranking_loss(users, items, user, item, item[:0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # The same of a table that holds these items alone.
    some, rows = torch.tensor([9, 7]), torch.tensor([1, 1, 0])
    ids = torch.arange(len(users)), some
    compact = model.ranking_loss(users, items[some], user, rows, rows[:0], ids)
    torch.testing.assert_close(compact, expected, rtol=1e-4, atol=1e-5)


def test_bilateral_loss_refuses_corrected_rivals(tiny_config):
    config = tiny_config("MF-BSL")
    config["rivals"] = "corrected"
    with pytest.raises(ValueError, match="rivals: corrected is SSM's"):
        build_model(config, load_data(config))


def test_balance_is_pooled_over_steps(tiny_path, tmp_path):
    model, batch, _ = model_and_batch(tiny_path, tmp_path, backbone="LightGCN")
    for _ in range(BALANCE_BATCHES - 1):
        model.calculate_loss(batch)
    pools = [m for m in model.modules() if isinstance(m, Balance)]
    assert len(pools) == 2 and all((pool.sizes > 0).all() for pool in pools)
