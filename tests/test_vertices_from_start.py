"""Training with an index's nodes as items from the start: blocks, arms, sums of scores, tables."""

import numpy as np
import pytest
import torch
from conftest import tiny_settings

from recbole_hill.adapt.forms import CONTINUE
from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.build import build_model
from recbole_hill.pipeline import run
from recbole_hill.run.jsonl import read_lines
from recbole_hill.train.trainer import trainer_for

EVERY, RATE = 2, 0.01


@pytest.fixture(scope="module")
def script(import_benchmark):
    return import_benchmark("vertices_from_start")


@pytest.fixture(scope="module")
def blocks_module(import_benchmark):
    return import_benchmark("blocks")


@pytest.fixture
def made(tiny_path, tmp_path):
    """Returns a function that makes the trainer and the data of a model on `tiny`."""

    def make(model: str, **changes):
        folder = tmp_path / model
        folder.mkdir(exist_ok=True)
        settings = tiny_settings(tiny_path, model, run_dir=str(folder), topk=[20], **changes)
        if "NESCL" not in (model, changes.get("backbone")):
            settings.pop("ssl_warmup_epochs", None)
        config = HillConfig(model, "tiny", None, {**settings, "valid_metric": "NDCG@20"})
        data = load_data(config)
        trainer = trainer_for(config, build_model(config, data))
        trainer.see(data.train)
        return trainer, data

    return make


@pytest.fixture
def blocks(made, blocks_module):
    """Returns a function that makes blocks at a learning rate over a backbone."""

    def make(rate: float, backbone: str = "LightGCN-BSL"):
        trainer, data = made("HILL", backbone=backbone, pair_form="vertices+rows")
        start = blocks_module.real_weights(trainer.model.backbone)
        return blocks_module.Blocks(trainer, data, start, every=EVERY, rate=rate)

    return make


@pytest.mark.parametrize("backbone", ["LightGCN-BSL", "NESCL"])
def test_the_first_block_is_plain_training_of_the_backbone(script, blocks, made, backbone):
    reached = blocks(RATE, backbone).reach(script.kinds_of(CONTINUE, 1))
    trainer, data = made(backbone)
    loss = trainer.model.calculate_loss
    trainer.run_stage("block 0", EVERY, data.train, loss, learning_rate=RATE)
    plain = trainer.model.state_dict()
    assert plain.keys() == reached.weights.keys()
    assert all(torch.equal(plain[name], reached.weights[name]) for name in plain)
    trainer.model.eval()
    for ours, theirs in zip(reached.vectors, trainer.model.vectors(), strict=True):
        assert torch.equal(ours, theirs)
    assert (reached.pairs, reached.steps) == (0, EVERY * len(data.train))
    assert reached.validation == pytest.approx(trainer.valid_score(data.valid))


def test_rows_of_users_and_real_items_are_carried_from_block_to_block(blocks):
    still = blocks(0.0)  # at the rate 0 training changes no weight
    reached = still.reach(("plain", "pairs", "random_nodes"))
    assert reached.pairs > 0
    assert reached.weights.keys() == still.start.keys()
    assert all(torch.equal(reached.weights[name], still.start[name]) for name in still.start)
    moved = reached.vectors[0] - still.reach(("plain",)).vectors[0]
    assert (moved.abs().amax(1) > 1e-6).any()  # the nodes are in the graph


def test_arms_share_blocks_and_take_as_many_steps(script, blocks):
    both = blocks(RATE)
    end, pairs, same = (script.kinds_of(arm, 3) for arm in (script.AT_THE_END, "pairs", CONTINUE))
    assert end == ("plain", "continue", "pairs")
    of_arms = {kinds: [both.reach(kinds[:n]) for n in (1, 2, 3)] for kinds in (end, pairs, same)}
    assert of_arms[end][:2] == of_arms[same][:2] and of_arms[pairs][0] is of_arms[same][0]
    ours, control = of_arms[pairs][1], of_arms[same][1]
    assert (ours.pairs, ours.steps) == (control.pairs, control.steps)
    assert ours.steps > of_arms[same][0].steps  # the pairs are rows
    name = "item_embedding.weight"
    assert not torch.equal(ours.weights[name], control.weights[name])


def test_a_sum_adds_scores_of_deviation_1(script):
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 3, generator=generator) for n in (5, 9))
    users, items = script.standardised((users, items))
    scores = (users @ items[1:].T).double().numpy()
    np.testing.assert_allclose(scores.std(1), 1, rtol=1e-5)


def test_validation_chooses_the_rate_over_the_seeds_that_all_rates_have(script):
    def row(arm, rate, seed, validation, test):
        metrics = dict.fromkeys(script.METRICS, test)
        result = {"chosen": 2, "validation": validation, "metrics": metrics}
        return {"backbone": "X", "arm": arm, "rate": rate, "seed": seed, "alone": result}

    rows = [
        row(CONTINUE, 0.01, 1, 0.2, 0.30),
        row(CONTINUE, 0.01, 2, 0.2, 0.32),
        row("pairs", 0.01, 1, 0.3, 0.50),
        row("pairs", 0.02, 1, 0.4, 0.33),  # the better rate with seed 1, which both have
        row("pairs", 0.02, 2, 0.1, 0.36),
    ]
    *_, control, pairs = script.report(rows, CONTINUE).splitlines()
    assert "| X | continue | 0.01 | 2, 2 | 0.2000 | 0.3100 ± 0.0141 |" in control
    assert pairs.startswith("| X | pairs | 0.02 | 2, 2 | 0.2500 | 0.3450 ± 0.0212 |")
    assert pairs.endswith("| +0.0350 ± 0.0050 | +0.0350 ± 0.0050 |")


def test_the_script_writes_a_line_per_rate_and_arm(script, tiny_path, tmp_path, capsys):
    other = run(
        "SpectralMF",
        "tiny",
        overrides=tiny_settings(tiny_path, "SpectralMF", run_dir=str(tmp_path / "run")),
    )
    file, threads = tmp_path / "rows.jsonl", torch.get_num_threads()
    given = {
        "topk": "[20]",
        "train_batch_size": 256,
        "embedding_size": 16,
        "nodes_per_depth": "[12, 4]",
    }
    given |= {"interest_thresholds": "[0.4, 0.2]", "data_path": tiny_path}
    options = ["--backbone=LightGCN-BSL", "--dataset=tiny", "--seeds=7", "--every=1", "--blocks=2"]
    settings = [f"--{key}={value}" for key, value in given.items()]
    script.main([*options, f"--output={file}", f"--fuse-with={other.folder}", *settings])
    torch.set_num_threads(threads)
    rows = read_lines(file).kept
    arms = [(row["arm"], row["rate"]) for row in rows]
    rates = [0.005, 0.0025]
    assert arms == [("SpectralMF", 0), *((arm, rate) for rate in rates for arm in script.ARMS)]
    for row in rows[1:]:
        validation = row["validation by block"]
        assert row["alone"]["chosen"] == 1 + int(np.argmax(validation))
        assert row["alone"]["validation"] == pytest.approx(max(validation), abs=1e-6)
        assert row["fused"]["chosen"] in script.FUSE_WEIGHTS and row["pairs by block"][0] == 0
    assert rows[1]["pairs by block"][1] == rows[2]["pairs by block"][1] > 0
    shown = capsys.readouterr().out
    assert shown.count("| LightGCN-BSL | pairs |") == 2 and "| SpectralMF |" in shown
