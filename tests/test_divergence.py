"""A loss, weights or scores that are not finite end the run with the setting to change."""

import re

import impressions
import pytest
import torch
from conftest import tiny_settings
from contract import built

from recbole_hill.cli import main
from recbole_hill.pipeline import run
from recbole_hill.train.divergence import diverged
from recbole_hill.train.trainer import BEST


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("BPR", {}),
        ("LightGCN", {}),
        ("MultVAE", {}),
        ("HILL", {"adapt_control": []}),
        ("HILL", {"index_learning": "joint"}),
    ],
)
def test_a_learning_rate_that_is_too_large_is_named(tiny_path, in_tmp, model, changes):
    settings = tiny_settings(tiny_path, model, learning_rate=1e30, run_dir="here", **changes)
    with pytest.raises(ValueError, match=r" has diverged in epoch \d of backbone: ") as error:
        run(model, "tiny", overrides=settings)
    said = r"of the settings learning_rate 1e\+30 is farthest from its default \S+; try a value "
    assert re.search(said + "that is nearer to it", str(error.value))
    assert not (in_tmp / "here" / BEST).exists() and not (in_tmp / "here" / "rows.jsonl").exists()


@pytest.mark.parametrize("model", ["MoNN", "EBR"])
def test_models_of_impressions_stop_too(tmp_path, in_tmp, model):
    settings = impressions.settings(impressions.write(tmp_path), learning_rate=1e30)
    settings |= {"nodes_per_depth": [12], "beam_width": 3} if model == "EBR" else {}
    with pytest.raises(ValueError, match=rf"{model} has diverged in epoch 0 of backbone: .*1e\+30"):
        run(model, "log", overrides=settings)


def test_the_command_ends_with_one_line(tiny_path, in_tmp, capsys):
    settings = tiny_settings(tiny_path, "BPR", learning_rate=1e30)
    argv = ["--model=BPR", "--dataset=tiny", *(f"--{k}={v}" for k, v in settings.items())]
    assert main(argv) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: BPR has diverged in epoch 0 of backbone: the loss is ")


@pytest.mark.parametrize("stage", ["backbone", "ttt"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_epoch_and_the_stage_of_a_loss_are_named(tiny_path, tmp_path, in_tmp, stage, value):
    model, trainer, data = built("BPR", tiny_path, tmp_path)
    steps = iter(range(100))

    def loss(interaction):
        of_model = type(model).calculate_loss(model, interaction)
        return of_model * value if next(steps) >= len(data.train) else of_model

    model.calculate_loss = loss
    with pytest.raises(
        ValueError, match=f"BPR has diverged in epoch 1 of {stage}: the loss is {value}"
    ):
        if stage == "backbone":
            trainer.fit(data.train, data.valid)
        else:
            trainer.run_stage(stage, 3, data.train, loss, learning_rate=0.01)


@pytest.mark.parametrize(
    ("stage", "rate"), [("em_0", "learning_rate"), ("adapt_pairs", "ttt_learning_rate")]
)
def test_the_rate_of_the_stage_is_named(tiny_path, tmp_path, in_tmp, stage, rate):
    _, trainer, data = built("HILL", tiny_path, tmp_path)
    trainer.see(data.train)
    endless = torch.tensor(float("inf"), requires_grad=True)
    with pytest.raises(ValueError, match=rf"epoch 0 of {stage}: .* try a smaller {rate} than"):
        trainer.run_stage(stage, 1, data.train, lambda _: endless * 1, learning_rate=0.01)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_are_checked_after_each_epoch(tiny_path, tmp_path, in_tmp, value):
    model, trainer, data = built("BPR", tiny_path, tmp_path)
    unused = torch.nn.Parameter(torch.tensor([value]))  # no loss shows it
    model.register_parameter("unused", unused)
    with pytest.raises(ValueError, match="in epoch 0 of backbone: weights are not finite; try a"):
        trainer.fit(data.train, data.valid)


@pytest.mark.parametrize("mode", ["full", "uni5"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_of_a_model_without_a_loss_are_checked(tiny_path, tmp_path, in_tmp, mode, value):
    model, trainer, data = built("EASE", tiny_path, tmp_path, eval_args={"mode": mode})
    trainer.fit(data.train, data.valid)
    model.scores = lambda users: torch.full((len(users), model.n_items), value).numpy()
    model.predict = lambda interaction: torch.full((len(interaction),), value)
    with pytest.raises(ValueError, match=r"EASE has diverged in .*: scores are not finite"):
        trainer.evaluate(data.test, load_best_model=False)


def test_the_farthest_setting_is_named(tiny_config):
    for changes, named in (
        ({}, "try a smaller learning_rate than 0.005"),
        (
            {"learning_rate": 0.1, "reg_weight": 1e3},
            "of the settings reg_weight 1000.0 is farthest",
        ),
        ({"learning_rate": 1e-7}, "of the settings learning_rate 1e-07 is farthest"),
        ({"epochs": 10**6, "valid_ratio": 0.5}, "try a smaller learning_rate than 0.005"),
    ):
        assert named in str(diverged(tiny_config("LightGCN", **changes), "epoch 0", "loss"))
