"""HILL end to end on the planted data: stages, arms, choice, files, resume, and no leaks."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import tiny_settings
from contract import skip_without, total
from recbole.data.interaction import cat_interactions
from tiny_models import MODELS, NEEDS

from recbole_hill import registry
from recbole_hill.adapt.controls import random_nodes
from recbole_hill.adapt.selection import IndexSearch, select_pairs, train_history
from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import properties
from recbole_hill.data.ids import Ids
from recbole_hill.data.prepare.prepared import described
from recbole_hill.data.splits import load_data
from recbole_hill.index.em import kmeans_index
from recbole_hill.index.learners import IndexLearner
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.build import build_model
from recbole_hill.model.hill import EM_WEIGHT, HILL
from recbole_hill.model.losses import bpr
from recbole_hill.model.nescl import NESCL
from recbole_hill.pipeline import HILLTrainer, evaluate, run
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.run.folder import read_config, served_weights
from recbole_hill.run.hashes import HASHES
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.arms import Arm
from recbole_hill.train.index_stage import learn_index
from recbole_hill.train.trainer import RunTrainer, trainer_for

CONTROLS = ["continue", "random_nodes", "random_users", "average", "average_random"]


@pytest.fixture(scope="module")
def finished(tiny_path, tmp_path_factory):
    """A finished HILL run under holdout."""
    root = tmp_path_factory.mktemp("saved")
    settings = tiny_settings(tiny_path, "HILL", checkpoint_dir=str(root), epochs=15)
    return run("HILL", "tiny", overrides=settings)


def test_rows_of_every_arm_with_their_provenance(finished):
    arms = [row["arm"] for row in finished.rows]
    assert arms == ["backbone", "backbone + EM", *CONTROLS, "pairs", "HILL"]
    for row in finished.rows:
        assert set(row["metrics"]) == {f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10)}
        for key in ("data_sha256", "protocol", "seed", "commit", "versions", "device", "settings"):
            assert key in row
        assert row["peak_memory_mib"] > 0 and not row["test_selected"]


def test_how_popular_an_arms_lists_are(finished):
    config = HillConfig(None, None, None, read_config(finished.folder))
    train = load_data(config).train._dataset.inter_feat["item_id"].tolist()
    lists = pq.read_table(finished.folder / "lists.parquet").to_pylist()
    for row in finished.rows:
        items = [item for line in lists if line["arm"] == row["arm"] for item in line["items"]]
        expected = [math.log(1 + train.count(item)) for item in items if item > 0]
        assert row["list_popularity"] == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_planted_groups_are_learnt(finished):
    # 12 items of the own group, 7 seen on average: random ranking finds 10 of 48 by chance.
    assert finished.rows[0]["metrics"]["recall@10"] > 0.7


def test_files_of_a_run(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert {
        "config.yaml",
        "backbone.safetensors",
        "adapted.safetensors",
        "index.npz",
        "metrics.json",
        "rows.jsonl",
        "run.log",
        "stages.json",
    } <= names
    assert not any(name.endswith(".tmp") for name in names) and "state.pt" not in names
    lines = (finished.folder / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(finished.rows))


def test_hill_keeps_what_validation_prefers_and_says_so(finished):
    stage = finished.stages["HILL"]
    scores = {
        "unadapted": stage["valid_score_unadapted"],
        "adapted": finished.stages["adapt_pairs"]["valid_score"],
        "backbone": finished.stages["backbone"]["valid_score"],
    }
    assert stage["kept"] == max(scores, key=scores.get)
    assert stage["valid_score"] == scores[stage["kept"]]
    files = {"unadapted": "indexed", "adapted": "adapt_pairs", "backbone": "backbone"}
    assert same_weights(finished.folder, "adapted", finished.folder, files[stage["kept"]])


def test_a_choice_is_any_of_the_three(finished, tmp_path):
    config = HillConfig(None, None, None, {**read_config(finished.folder), "threads": 1})
    for kept in ("unadapted", "adapted", "backbone"):
        folder = tmp_path / kept
        shutil.copytree(finished.folder, folder)
        config["run_dir"] = str(folder)
        data = load_data(config)
        trainer = trainer_for(config, build_model(config, data))
        del trainer.stages["HILL"]
        stage = {"unadapted": "HILL", "adapted": "adapt_pairs"}.get(kept, kept)
        for name in ("adapt_pairs", "backbone"):  # of a validation that prefers one of them
            trainer.stages[name]["valid_score"] = 1.0 if name == stage else 0.0
        trainer.fit(data.train, data.valid)
        assert trainer.stages["HILL"]["kept"] == kept


def test_control_without_pairs_differs_from_start_but_backbone_does_not_move(finished):
    assert not same_weights(finished.folder, "adapt_continue", finished.folder, "indexed")
    assert not same_weights(finished.folder, "adapt_continue", finished.folder, "adapt_pairs")


def test_untrained_arms_move_users_toward_their_nodes_or_random_ones(finished):
    config = HillConfig(None, None, None, {**read_config(finished.folder), "threads": 1})
    config["run_dir"] = str(finished.folder)
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    trainer.fit(data.train, data.valid)  # all stages are done: they are loaded
    index = trainer.model.index
    own = select_pairs(trainer, index, data.train)
    seeded = np.random.default_rng(config["seed"])
    least = trainer.settings.min_children
    others = random_nodes(own, index.parents, seeded, min_children=least)
    arms = {arm.name: arm for arm in trainer.arms}
    trainer.take(arms["backbone + EM"])
    users, items = (x.detach().numpy().copy() for x in trainer.model.vectors())
    found = {}
    for arm, pairs in {"average": own, "average_random": others}.items():
        expected = users.copy()
        for user in set(pairs.users.tolist()):
            nodes = zip(*(x[pairs.users == user] for x in (pairs.depths, pairs.nodes)), strict=True)
            means = [items[1:][index.assignments(d) == n].mean(0) for d, n in nodes]
            expected[user] = 0.9 * users[user] + 0.1 * np.mean(means, axis=0)
        moved, same = arms[arm].vectors
        np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(same.detach().numpy(), items)
        found[arm] = moved.numpy()
    assert len(own) and not np.allclose(found["average"], found["average_random"], atol=1e-3)


def same_weights(folder, name, other_folder, other_name) -> bool:
    a = load_weights(folder / f"{name}.safetensors")
    b = load_weights(other_folder / f"{other_name}.safetensors")
    return set(a) == set(b) and all(torch.equal(a[key], b[key]) for key in a)


def test_same_seed_same_run(finished, tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "HILL", checkpoint_dir=str(tmp_path), epochs=15)
    again = run("HILL", "tiny", overrides=settings)
    assert [r["metrics"] for r in again.rows] == [r["metrics"] for r in finished.rows]
    assert same_weights(again.folder, "adapted", finished.folder, "adapted")


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "stage, epoch",
    [
        ("backbone", 3),
        pytest.param("em_0", 0, marks=pytest.mark.slow),
        ("adapt_pairs", 1),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(
    finished, tiny_path, tmp_path, monkeypatch, stage, epoch
):
    original = RunTrainer._save_state

    def save_then_die(self, at, loader):
        original(self, at, loader)
        if self._stage == stage and at == epoch:
            raise Killed

    settings = tiny_settings(tiny_path, "HILL", checkpoint_dir=str(tmp_path), epochs=15)
    monkeypatch.setattr(RunTrainer, "_save_state", save_then_die)
    with pytest.raises(Killed):
        run("HILL", "tiny", overrides=settings)
    monkeypatch.undo()
    folder = next(tmp_path.glob("HILL-*"))
    resumed = run(resume=str(folder))
    assert resumed.folder == folder
    assert [r["metrics"] for r in resumed.rows] == [r["metrics"] for r in finished.rows]
    for name in ("backbone", "indexed", "adapt_pairs", "adapted"):
        assert same_weights(folder, name, finished.folder, name), name


def test_a_finished_run_is_not_trained_again(finished, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)

    def never(*args, **kwargs):
        raise AssertionError("trained")

    monkeypatch.setattr(RunTrainer, "_train_epoch", never)
    again = run(resume=str(copy))
    assert [r["metrics"] for r in again.rows] == [r["metrics"] for r in finished.rows]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 99}, "seed is 99 here and 2020 there"),
        ({"embedding_size": 8}, "embedding_size is 8 here and 16 there"),
        ({"split_seed": 99}, "split_seed is 99 here and 2020 there"),
        ({"epochs": 99}, "epochs is 99 here and 15 there"),
    ],
)
def test_resuming_with_other_settings_is_refused_before_anything_is_written(
    finished, tmp_path, changes, message
):
    """A finished run once got rows with another seed, and was not trained by it."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}
    with pytest.raises(ValueError, match=f"own settings: {message}; accepted are other values of"):
        run(resume=str(copy), overrides=changes)
    assert before == {file.name: file.read_bytes() for file in copy.iterdir() if file.is_file()}


def test_resuming_on_other_data_is_refused(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    (copy / "data.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"data\.json was changed after the run"):
        run(resume=str(copy))
    (copy / HASHES).unlink()  # as in a run of an older version
    with pytest.raises(ValueError, match="was made on other data"):
        run(resume=str(copy))


def test_refit_takes_epochs_and_choice_from_holdout(tiny_path, tmp_path, monkeypatch):
    tested = []
    original = HILLTrainer.valid_score
    monkeypatch.setattr(
        HILLTrainer, "valid_score", lambda self, data: tested.append(1) or original(self, data)
    )
    settings = tiny_settings(
        tiny_path, "HILL", protocol="refit", checkpoint_dir=str(tmp_path), adapt_control=[]
    )
    result = run("HILL", "tiny", overrides=settings)
    holdout = json.loads((result.folder / "holdout" / "stages.json").read_text())
    assert result.stages["backbone"]["epochs"] == holdout["backbone"]["epochs"]
    assert result.stages["HILL"]["kept"] == holdout["HILL"]["kept"]
    assert result.stages["adapt_pairs"]["epochs"] == holdout["adapt_pairs"]["epochs"] > 0
    assert result.stages["backbone"]["valid_score"] is None
    assert result.stages["HILL"]["valid_score"] is None
    assert result.stages["holdout"]["seconds"] == pytest.approx(
        sum(stage["seconds"] for stage in holdout.values()), abs=0.1
    )
    row = result.rows[0]  # says what was asked for: seeds that choose otherwise are averaged
    assert row["settings"]["epochs"] == settings["epochs"]
    assert row["settings"]["ttt_epochs"] == settings["ttt_epochs"]
    assert len(tested) == settings["ttt_epochs"] + 1  # all of them in the holdout run


def test_a_refit_on_a_refitted_backbone(tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "NESCL", protocol="refit", run_dir=str(tmp_path / "nescl"))
    backbone = run("NESCL", "tiny", overrides=settings)
    settings = tiny_settings(
        tiny_path, "HILL", protocol="refit", run_dir=str(tmp_path / "hill"), adapt_control=[]
    )
    settings["backbone_from"] = str(backbone.folder)
    hill = run("HILL", "tiny", overrides=settings)
    for part in (".", "holdout"):
        theirs, ours = (
            load_weights(run.folder / part / "backbone.safetensors") for run in (backbone, hill)
        )
        assert theirs and all(torch.equal(theirs[k], ours[f"backbone.{k}"]) for k in theirs)


def test_published_is_stamped(tiny_path, tmp_path):
    settings = tiny_settings(
        tiny_path, "NESCL", protocol="published", checkpoint_dir=str(tmp_path), epochs=2
    )
    row = run("NESCL", "tiny", overrides=settings).rows[0]
    assert row["test_selected"] and row["protocol"] == "published"


@pytest.mark.parametrize(
    "source",
    ["both", *(pytest.param(s, marks=pytest.mark.slow) for s in ("history", "retrieved"))],
)
def test_nothing_learnt_depends_on_test_interactions(tiny_path, tmp_path, source):
    """Another test set, the same train set: the same graph, neighbours, index, pairs, weights."""
    other = tmp_path / "data"
    shutil.copytree(tiny_path, other)
    file = other / "tiny" / "tiny.test.inter"
    head, *lines = file.read_text().splitlines()
    users = [line.split("\t")[0] for line in lines]
    train = {
        tuple(line.split("\t"))
        for line in (other / "tiny" / "tiny.train.inter").read_text().splitlines()[1:]
    }
    rng = np.random.default_rng(1)
    free = [[i for i in map(str, range(48)) if (u, i) not in train] for u in users]
    changed = [f"{u}\t{rng.choice(f)}" for u, f in zip(users, free, strict=True)]
    file.write_text("\n".join([head, *dict.fromkeys(changed)]) + "\n")
    manifest = other / "tiny" / "tiny.manifest.json"
    prepared = json.loads(manifest.read_text())
    prepared["files"][file.name] = described(file)
    manifest.write_text(json.dumps(prepared))
    folders = []
    for i, path in enumerate((tiny_path, other)):
        settings = tiny_settings(
            path, "HILL", checkpoint_dir=str(tmp_path / str(i)), interest_source=source
        )
        folders.append(run("HILL", "tiny", overrides=settings).folder)
    first, second = folders
    for name in ("backbone", "indexed", "adapt_pairs", "adapted"):
        assert same_weights(first, name, second, name), name
    arrays = [dict(np.load(folder / "index.npz")) for folder in folders]
    for key in arrays[0]:
        np.testing.assert_array_equal(arrays[0][key], arrays[1][key])
    stages = [json.loads((folder / "stages.json").read_text()) for folder in folders]
    for stage in stages[0]:
        assert {**stages[0][stage], "seconds": 0} == {**stages[1][stage], "seconds": 0}


@pytest.fixture
def indexed(tiny_config):
    """A HILL model with its index over freshly initialised vectors."""
    config = tiny_config("HILL", retrieval="beam", epochs=1, em_rounds=0, ttt_epochs=0)
    config["run_dir"] = "run"
    data = load_data(config)
    model = build_model(config, data)
    trainer = trainer_for(config, model)
    learn_index(trainer, data.train)
    return model, trainer, data


def test_index_metric_scores_clusters_by_what_users_score(indexed):
    model, trainer, data = indexed
    tokens = Ids.of(data.train._dataset).items
    users, items = (part[1:].detach().numpy() for part in model.vectors())
    by_score = kmeans_index(items, tokens, [12, 4], seed=trainer.config["seed"], user_vectors=users)
    assert not np.array_equal(model.index.parents[0], by_score.parents[0])
    model.learner.metric = "scores"
    del trainer.stages["index"]
    learn_index(trainer, data.train)
    np.testing.assert_array_equal(model.index.parents[0], by_score.parents[0])
    np.testing.assert_array_equal(model.index.vectors[1], by_score.vectors[1])


def test_no_backbone_has_a_setting_of_hills_name():
    files = {file.name: file for file in properties("model").iterdir()}
    blocks = {"per_dataset", "presets", "labelled"}
    ours = set(yaml.safe_load(files.pop("HILL.yaml").read_text())) - blocks
    del files["HSNN.yaml"], files["EBR.yaml"]  # no backbones: they have an index of their own
    for name, file in files.items():
        assert not ours & set(yaml.safe_load(file.read_text()) or {}), name


def test_pair_history_keeps_users_with_short_histories(indexed):
    _, trainer, data = indexed
    everybody = replace(
        trainer.settings, interest_thresholds=(0.1, 0.1), min_children=1, pair_history=0
    )
    trainer.model.settings = everybody
    pairs = select_pairs(trainer, trainer.model.index, data.train)
    lengths = np.diff(train_history(data.train._dataset).indptr)
    limit = int(np.median(lengths[pairs.users]))
    trainer.model.settings = replace(everybody, pair_history=limit)
    kept = select_pairs(trainer, trainer.model.index, data.train)
    short = lengths[pairs.users] <= limit
    assert 0 < short.sum() < len(pairs)
    np.testing.assert_array_equal(kept.users, pairs.users[short])
    np.testing.assert_array_equal(kept.nodes, pairs.nodes[short])


@pytest.mark.parametrize("sums", [False, True])
def test_em_loss_by_hand(indexed, sums):
    model, _, data = indexed
    model.backbone.sums_over_batch = sums
    batch = next(iter(data.train))
    model.begin_epoch(0)
    users, items = model.user_item_embeddings()
    expected = []
    for depth in (1, 2):
        assignment = model.index.assignments(depth)
        means = torch.stack(
            [items[1:][assignment == n].mean(0) for n in range(assignment.max() + 1)]
        )
        positive, negative = (
            torch.from_numpy(assignment)[batch[key] - 1] for key in ("item_id", "neg_item_id")
        )
        differ = positive != negative
        user = users[batch["user_id"]][differ]
        scores = [(user * means[n[differ]]).sum(1) for n in (positive, negative)]
        expected.append(bpr(*scores))
    base = model.backbone.calculate_loss(batch)
    weight = EM_WEIGHT * (len(batch["item_id"]) if sums else 1)
    torch.testing.assert_close(model.em_loss(batch), base + weight * sum(expected) / 2)


def test_full_width_beam_gives_the_metrics_of_exact_ranking(indexed):
    model, trainer, data = indexed
    model.eval()
    _, items = model.vectors()
    exact = trainer.evaluate(data.test, load_best_model=False)
    from recbole_hill.retrieval.beam import BeamRetriever

    ids = torch.arange(1, len(items))
    search = BeamRetriever(model.index, items[1:], item_ids=ids, beam_width="full")
    trainer.arm = Arm("HILL", "adapted.safetensors", retriever=search)
    through_index = trainer.evaluate(data.test, load_best_model=False)
    assert through_index == exact


def test_beam_scores_fewer_items_and_reports_it(finished):
    cost = finished.rows[-1]["retrieval"]
    assert 0 < cost["index_recall@10"] <= 1 and cost["scored_fraction"] > 0


def test_train_history_is_train_alone(indexed):
    _, _, data = indexed
    history = train_history(data.train._dataset)
    assert history.shape == (81, 48) and history.nnz == len(data.train._dataset)
    assert history[0].nnz == 0


@pytest.mark.parametrize(
    "backbone", ["recbole.BPR", "LightGCN", "recbole.SGL", "SimpleX", "LightGCN-SSM", "ENMF", "CML"]
)
def test_other_backbones(tiny_path, tmp_path, backbone):
    settings = tiny_settings(
        tiny_path,
        "HILL",
        backbone=backbone,
        checkpoint_dir=str(tmp_path),
        epochs=2,
        adapt_control=["continue"],
    )
    settings.pop("ssl_warmup_epochs")
    result = run("HILL", "tiny", overrides=settings)
    assert [row["arm"] for row in result.rows][-1] == "HILL"


EMBEDDING_MODELS = [
    name for name in MODELS if issubclass(registry.find(name).load(), EmbeddingModel)
]


def hill_on(backbone, tiny_path):
    if backbone in NEEDS:
        skip_without(NEEDS[backbone])
    _, given = MODELS.get(backbone, (0, {}))
    changes = {k: v for k, v in given.items() if k not in ("epochs", "eval_step")}
    settings = tiny_settings(tiny_path, "HILL", backbone=backbone, run_dir="run", **changes)
    settings.pop("ssl_warmup_epochs")  # NESCL's
    config = HillConfig("HILL", "tiny", None, settings)
    data = load_data(config)
    return build_model(config, data), data


@pytest.mark.parametrize("backbone", EMBEDDING_MODELS)
def test_every_embedding_model_can_be_a_backbone(tiny_path, in_tmp, backbone):
    """Its loss beside node targets has a gradient, and its vectors can be indexed."""
    model, data = hill_on(backbone, tiny_path)
    users, items = model.vectors()
    assert len(users) == 81 and len(items) == 49 and users.shape[1] == items.shape[1]
    tokens = Ids.of(data.train._dataset).items
    model.set_index(kmeans_index(items[1:].detach().numpy(), tokens, [12, 4], seed=1))
    model.train()
    loss = model.em_loss(next(iter(data.train)))
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("backbone", [*EMBEDDING_MODELS, "recbole.SGL"])
def test_terms_weigh_as_much_whether_a_loss_is_a_sum_or_a_mean(tiny_path, in_tmp, backbone):
    """A batch twice over doubles a sum, and then HILL's means weigh by the number of rows."""
    model, data = hill_on(backbone, tiny_path)
    model.train()
    once = next(iter(data.train))
    twice = cat_interactions([once, once])
    losses = []
    for batch in (once, twice):
        torch.manual_seed(1)
        losses.append(total(model.calculate_loss(batch)))
    growth = losses[1] / losses[0] if losses[0] else 1.0  # a fit's loss is nothing
    doubles = model.batch_weight(twice) == len(twice)
    assert doubles or model.batch_weight(twice) == 1
    if not getattr(model.backbone, "user_wise", False):  # a user counts once, however often given
        assert (growth > 1.5) == doubles


def test_backbone_without_vectors_is_refused(tiny_config):
    config = tiny_config("HILL")
    config["backbone"] = "FISM"
    with pytest.raises(ValueError, match="backbone FISM trains on POINTWISE"):
        build_model(config, load_data(config))


def test_test_set_is_read_once_per_arm_and_only_at_the_end(tiny_config, monkeypatch):
    config = tiny_config("HILL", epochs=2)
    config["run_dir"] = "run"
    data = load_data(config)
    reads = []
    collate = type(data.test).collate_fn
    monkeypatch.setattr(
        type(data.test),
        "collate_fn",
        lambda self, index: (reads.append(self is data.test), collate(self, index))[1],
    )
    data.test.collate_fn = type(data.test).collate_fn.__get__(data.test)
    data.valid.collate_fn = type(data.valid).collate_fn.__get__(data.valid)
    trainer = trainer_for(config, build_model(config, data))
    trainer.fit(data.train, data.valid)
    assert reads and not any(reads)
    reads.clear()
    rows = evaluate(trainer, trainer.arms, data)
    assert all(reads) and len(reads) == len(rows) * len(data.test)


def test_later_stages_do_not_warm_up_again(tiny_path, tmp_path, monkeypatch):
    """An adaptation that fell back to NESCL's BPR-only warm-up would not be of its loss."""
    contrasted = []
    contrast = NESCL.contrast_loss

    def spy(self, *args):
        contrasted.append(1)
        return contrast(self, *args)

    monkeypatch.setattr(NESCL, "contrast_loss", spy)
    settings = tiny_settings(tiny_path, "HILL", run_dir=str(tmp_path))
    config = HillConfig("HILL", "tiny", None, settings)
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    trainer.fit(data.train, data.valid)
    # 4 epochs, the first without contrast; an M-step and 4 arms of 2 epochs are all with it.
    assert len(contrasted) == (3 + 1 + 4 * 2) * len(data.train)


class Renamed(HILL):
    """HILL under another name."""


def test_a_subclass_under_another_name_is_served_from_the_weights_that_it_kept(tiny_path, tmp_path):
    """The name "HILL" once decided which weights serve: others got the unadapted backbone's."""
    registry.add(registry.ModelEntry("Renamed", Renamed, settings={"extends": "HILL"}))
    changes = {"checkpoint_dir": str(tmp_path), "ttt_learning_rate": 0.05, "adapt_control": []}
    result = run("Renamed", "tiny", overrides=tiny_settings(tiny_path, "HILL", **changes))
    assert result.rows[-1]["arm"] == "HILL" and result.stages["HILL"]["serves"]
    served = LoadedRun.load(result.folder).model.state_dict()
    kept = load_weights(result.folder / "adapted.safetensors")
    assert all(torch.equal(served[name], kept[name]) for name in kept)
    assert served_weights(result.folder).name == "adapted.safetensors"


def test_a_run_of_before_is_served_by_what_its_stages_say(finished, tmp_path):
    """Stages of runs before 2026-12 do not name the weights that serve."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    stages = json.loads((copy / "stages.json").read_text())
    del stages["HILL"]["serves"]
    (copy / "stages.json").write_text(json.dumps(stages))
    assert served_weights(copy) == copy / "adapted.safetensors"
    del stages["HILL"]  # killed before its end: its backbone is no HILL
    (copy / "stages.json").write_text(json.dumps(stages))
    with pytest.raises(FileNotFoundError, match="has not finished; continue it with --resume"):
        served_weights(copy)


def test_a_backbone_with_a_backbone_is_refused(tiny_path, tmp_path):
    settings = tiny_settings(tiny_path, "HILL", backbone="HILL", run_dir=str(tmp_path))
    settings.pop("ssl_warmup_epochs")  # NESCL's
    with pytest.raises(ValueError, match=r"backbone must be a model without .* own, got HILL"):
        run("HILL", "tiny", overrides=settings)


@pytest.mark.parametrize(
    ("registry_of", "key", "target", "message"),
    [
        ("SELECTORS", "pair_selector", lambda *_: None, "nothing must return Pairs, got None"),
        ("LEARNERS", "index_learning", None, "nothing must return a HierarchicalIndex, got 5"),
    ],
)
def test_what_a_foreign_learner_or_selector_returns_is_checked(
    tiny_path, tmp_path, registry_of, key, target, message
):
    class Five(IndexLearner):
        @classmethod
        def from_settings(cls, settings, *, n_items, dim):
            return cls()

        def learn(self, vectors, ids, start=None):
            return 5

    names = getattr(registry, registry_of)
    names.add(registry.Entry("nothing", target or Five))
    changes = {key: "nothing", "run_dir": str(tmp_path), "epochs": 1, "em_rounds": 0}
    with pytest.raises(ValueError, match=message):
        run("HILL", "tiny", overrides=tiny_settings(tiny_path, "HILL", **changes))


def test_pairs_of_the_beam_are_nodes_that_the_search_kept(indexed):
    _, trainer, data = indexed
    trainer.model.settings = replace(
        trainer.settings,
        interest_source="beam",
        interest_thresholds=(0.01, 0.01),
        min_children=1,
        beam_width=(3, 2),
    )
    history = train_history(data.train._dataset)
    search = IndexSearch(trainer, history)
    kept, lists, best = search.kept_nodes(), search(20), search(1)
    pairs = select_pairs(trainer, trainer.model.index, data.train)
    parents = trainer.model.index.parents
    expected, within = set(), 0
    for user in range(1, data.dataset.user_num):
        below = lists[user][lists[user] >= 0]
        expected |= {(user, int(node), 1) for node in parents[0][below]}
        expected |= {(user, int(node), 2) for node in parents[1][kept[0][user].indices]}
        own = np.flatnonzero(np.isin(parents[0], kept[0][user].indices))
        if set(own) - set(history[user].indices):  # the kept nodes have an item for the user
            within += 1
            assert best[user, 0] in own
    assert within > 20
    found = zip(pairs.users.tolist(), pairs.nodes.tolist(), pairs.depths.tolist(), strict=True)
    assert set(found) == expected
    assert kept[0].sum(1).max() == 3 and not kept[0][0].nnz
