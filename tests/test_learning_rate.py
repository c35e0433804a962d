"""The rules by which the learning rate falls, alone and inside a run."""

import pytest
import torch
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.build import build_model
from recbole_hill.train.learning_rate import LearningRateRule
from recbole_hill.train.refit import Choice
from recbole_hill.train.trainer import trainer_for


def rate_after(rule, epochs=0, validations=0, start=1.0):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    for _ in range(epochs):
        rule.after_epoch(optimizer)
    for _ in range(validations):
        rule.after_no_gain(optimizer)
    return optimizer.param_groups[0]["lr"]


def test_each_rule_by_hand():
    assert rate_after(LearningRateRule("constant", 0.5, 0), 3, 3) == 1
    assert rate_after(LearningRateRule("exponential", 0.5, 0), 3, 3) == 0.125
    assert rate_after(LearningRateRule("plateau", 0.5, 0), 3, 2) == 0.25
    assert rate_after(LearningRateRule("exponential", 0.5, 0.3), 3) == 0.3
    assert rate_after(LearningRateRule("exponential", 0.5, 0.3), 3, start=0.1) == 0.1
    assert rate_after(LearningRateRule("linear", 0.5, 0, step=0.25), 3, 3) == 0.25
    assert rate_after(LearningRateRule("linear", 0.5, 0.4, step=0.25), 3) == 0.4
    assert rate_after(LearningRateRule("linear", 0.5, 0, step=0.25), 9) == 0


@pytest.mark.parametrize(
    ("key", "value"), [("lr_rule", "cosine"), ("lr_factor", 0), ("lr_factor", 2), ("lr_least", -1)]
)
def test_bad_settings_are_named(key, value):
    with pytest.raises(ValueError, match=f"^{key} must be .*, got {value!r}$"):
        HillConfig("BPR", "ml-100k", None, {key: value})


def trainer_of(tiny_path, tmp_path, model="BPR", **changes):
    settings = tiny_settings(tiny_path, model, run_dir=str(tmp_path), learning_rate=0.02, **changes)
    config = HillConfig(model, "tiny", None, settings)
    data = load_data(config)
    return trainer_for(config, build_model(config, data)), data


def test_exponential_in_a_run(tiny_path, tmp_path):
    changes = {"epochs": 3, "lr_rule": "exponential", "lr_factor": 0.5}
    trainer, data = trainer_of(tiny_path, tmp_path, **changes)
    trainer.fit(data.train, data.valid)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 / 8)


def test_linear_reaches_the_least_with_the_last_epoch(tiny_path, tmp_path):
    changes = {"epochs": 4, "lr_rule": "linear", "lr_least": 0.004}
    trainer, data = trainer_of(tiny_path, tmp_path, **changes)
    rates = []
    after_epoch = trainer.learning_rate_rule.after_epoch

    class Noting:
        def after_epoch(self, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])
            after_epoch(optimizer)

        def after_no_gain(self, optimizer):
            return False

    trainer.learning_rate_rule = Noting()
    trainer.fit(data.train, data.valid)
    assert rates == pytest.approx([0.02, 0.016, 0.012, 0.008])
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.004)


@pytest.mark.parametrize("rule", ["linear", "exponential"])
def test_a_stage_after_the_backbone_keeps_its_own_rate(tiny_path, tmp_path, rule):
    trainer, data = trainer_of(tiny_path, tmp_path, lr_rule=rule, learner="sgd")
    stage = {"learning_rate": 0.001, "learner": "adam"}
    trainer.run_stage("more", 3, data.train, trainer.model.calculate_loss, **stage)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.001
    assert isinstance(trainer.optimizer, torch.optim.Adam)


@pytest.mark.parametrize("model", ["BPR", "BUIR"])  # BUIR's target moves behind its tables
def test_linear_resumes_bit_equal(tiny_path, tmp_path, monkeypatch, model):
    changes = {"model": model, "epochs": 4, "lr_rule": "linear"}
    whole, data = trainer_of(tiny_path, tmp_path / "whole", **changes)
    whole.fit(data.train, data.valid)
    killed, data = trainer_of(tiny_path, tmp_path / "killed", **changes)

    def stop(epoch, *args):
        if epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(killed.model, "begin_epoch", stop, raising=False)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(data.train, data.valid)
    resumed, data = trainer_of(tiny_path, tmp_path / "killed", **changes)
    resumed.fit(data.train, data.valid)
    rates = [t.optimizer.param_groups[0]["lr"] for t in (whole, resumed)]
    assert rates[0] == rates[1]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name])


def test_plateau_goes_back_to_the_best_weights(tiny_path, tmp_path, monkeypatch):
    changes = {"epochs": 2, "lr_rule": "plateau", "lr_factor": 0.5}
    trainer, data = trainer_of(tiny_path, tmp_path, **changes)
    scores = iter([0.9, 0.1])
    kept = {}

    def evaluate(*args, **kwargs):
        score = next(scores)
        kept[score] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        return {"ndcg@10": score}

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    trainer.fit(data.train, data.valid)
    now = trainer.model.state_dict()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    assert all(torch.equal(now[name], kept[0.9][name]) for name in now)
    assert not all(torch.equal(now[name], kept[0.1][name]) for name in now)


def test_a_refit_takes_the_rates_on_the_way_to_the_best_weights(tiny_path, tmp_path, monkeypatch):
    """The epochs that a plateau made undone are not trained again."""
    changes = {"epochs": 6, "stopping_step": 9, "lr_rule": "plateau", "lr_factor": 0.5}
    chooser, data = trainer_of(tiny_path, tmp_path / "holdout", **changes)
    scores = iter([0.1, 0.2, 0.1, 0.15, 0.3, 0.2])  # epochs 2, 3 and 5 lead nowhere
    monkeypatch.setattr(chooser, "evaluate", lambda *args, **kwargs: {"ndcg@10": next(scores)})
    chooser.fit(data.train, data.valid)
    choice = Choice.of(chooser.stages)
    assert choice.epochs == 3 and choice.learning_rates == pytest.approx((0.02, 0.02, 0.005))
    assert chooser.stages["backbone"]["epochs"] == 5

    refit, data = trainer_of(tiny_path, tmp_path / "refit", protocol="refit", **changes)
    refit.follow(choice)
    refit.fit(data.train, None)
    facts = refit.stages["backbone"]
    assert facts["epochs"] == 3 and facts["learning_rates"] == list(choice.learning_rates)
    assert facts["valid_score"] is None


def test_groups_keep_their_ratio():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.4, 0.1)]
    optimizer = torch.optim.SGD(groups)
    LearningRateRule("linear", 0.5, 0.0, step=0.1).after_epoch(optimizer)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.3, 0.075])
    for _ in range(5):
        LearningRateRule("linear", 0.5, 0.0, step=0.1).after_epoch(optimizer)
    assert [g["lr"] for g in optimizer.param_groups] == [0, 0]


def test_an_equal_score_is_no_gain(tiny_path, tmp_path, monkeypatch):
    """RecBole counts it as one, and a run whose learning rate has fallen to 0 would never stop."""
    changes = {"epochs": 30, "stopping_step": 2, "lr_rule": "plateau", "lr_factor": 0.5}
    trainer, data = trainer_of(tiny_path, tmp_path, **changes)
    monkeypatch.setattr(trainer, "evaluate", lambda *args, **kwargs: {"ndcg@10": 0.5})
    trainer.fit(data.train, data.valid)
    assert trainer.best_epoch == 0 and len(trainer.train_loss_dict) == 4


def test_fused_adam_is_adam(tiny_config):
    """The trainer's optimiser takes the same steps as PyTorch's plain one."""
    model, other = (torch.nn.Linear(3, 2) for _ in range(2))
    other.load_state_dict(model.state_dict())
    config = tiny_config("BPR")
    config["run_dir"] = "run"
    optimizer = trainer_for(config, model)._build_optimizer(learning_rate=0.1)
    assert all(group["fused"] for group in optimizer.param_groups)
    plain = torch.optim.Adam(other.parameters(), lr=0.1, foreach=False)
    for step in range(3):
        for net, steps in ((model, optimizer), (other, plain)):
            steps.zero_grad()
            net(torch.arange(3.0) + step).square().sum().backward()
            steps.step()
    torch.testing.assert_close(model.weight, other.weight)
