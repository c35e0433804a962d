"""A run that goes on from another one on newer data: rows by id, the index, drift, resume."""

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig
from recbole_hill.data.ids import Ids
from recbole_hill.data.prepare.lightgcn import prepare
from recbole_hill.data.splits import load_data
from recbole_hill.index.codes import codes_of_tree, drift, matched
from recbole_hill.index.em import kmeans_index
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule
from recbole_hill.index.warm_start import OldIndex, carried_over
from recbole_hill.model.build import build_model
from recbole_hill.model.transfer import RowMap, transfer
from recbole_hill.pipeline import run
from recbole_hill.report.tables import arms_table
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.train.trainer import RunTrainer, trainer_for
from recbole_hill.train.warm_start import OldRun, inherit_weights

#: Nothing but what the transfer and the index do.
AT_REST = {
    "epochs": 0,
    "em_rounds": 0,
    "ttt_epochs": 0,
    "adapt_control": [],
    # Slow enough that 48 items do not move far.
    "learning_rate": 0.001,
    "n_layers": 3,
    "index_learning_rate": 0.01,
    "index_batch": 1024,
}
#: Of the planted dataset: users 0..79 and items 0..47, a user's group being its number modulo 4 and
#: an item's its number over 12.
GONE_USERS, GONE_ITEMS = {5, 6}, {1, 13, 25}
NEW_USERS, NEW_ITEMS = range(80, 84), {48: 0, 49: 3}  # item: group


def group(item: str) -> int:
    return NEW_ITEMS.get(int(item), int(item) // 12)


@pytest.fixture(scope="module")
def later_path(tiny_path, tmp_path_factory) -> Path:
    """The dataset ``later``: ``tiny`` in another order, without a few ids and with a few new."""
    root = tmp_path_factory.mktemp("later")
    rows = {"train": {}, "test": {}}
    for part, lists in rows.items():
        lines = (tiny_path / "tiny" / f"tiny.{part}.inter").read_text().splitlines()[1:]
        for user, item in (map(int, line.split("\t")) for line in lines):
            if user not in GONE_USERS and item not in GONE_ITEMS:
                lists.setdefault(user, []).append(item)
    for user in NEW_USERS:  # new users of every group
        rows["train"][user] = [12 * (user % 4) + i for i in (2, 3, 4, 5, 6)]
        rows["test"][user] = [12 * (user % 4) + i for i in (7, 8)]
    for item, its_group in NEW_ITEMS.items():
        for user in [u for u in rows["train"] if u % 4 == its_group][:6]:
            rows["train"][user].append(item)
    for part, opened in (("train", open), ("test", gzip.open)):
        name = f"{part}.txt" + (".gz" if part == "test" else "")
        with opened(root / name, "wt") as file:
            for user in sorted(rows["train"], reverse=True):
                file.write(" ".join(map(str, [user, *rows[part].get(user, [])])) + "\n")
    prepare("later", root, root / "dataset")
    return root / "dataset"


@dataclass(frozen=True)
class Old:
    """A finished run on ``tiny``."""

    folder: Path
    index: HierarchicalIndex
    ids: Ids
    weights: dict


def finish(model: str, path: Path, root: Path, **changes) -> Old:
    settings = tiny_settings(path, model, checkpoint_dir=str(root), seed=3, **changes)
    folder = run(model, "tiny", overrides=settings).folder
    index = folder / "index.npz"
    weights = load_weights(folder / f"{'adapted' if model == 'HILL' else 'backbone'}.safetensors")
    index = HierarchicalIndex.load(index) if index.is_file() else None
    return Old(folder, index, Ids.load(folder), weights)


@pytest.fixture(scope="module")
def old_em(tiny_path, tmp_path_factory) -> Old:
    root = tmp_path_factory.mktemp("saved")
    return finish("HILL", tiny_path, root, **{**AT_REST, "epochs": 15})


@pytest.fixture(scope="module")
def old_joint(tiny_path, tmp_path_factory) -> Old:
    root = tmp_path_factory.mktemp("saved")
    changes = {"index_learning": "joint", "index_epochs": 3, "epochs": 5, "stopping_step": 50}
    return finish("HILL", tiny_path, root, **{**AT_REST, **changes})


def continued(old: Old, path: Path, root: Path, dataset: str = "later", **changes):
    settings = {**AT_REST, "warm_start": str(old.folder), "checkpoint_dir": str(root), "seed": 4}
    settings = tiny_settings(path, "HILL", **{**settings, **changes})
    if "backbone" in changes:
        settings.pop("ssl_warmup_epochs")  # NESCL's
    return run("HILL", dataset, overrides=settings)


# -- weights ------------------------------------------------------------------------------------


def test_rows_follow_their_ids_and_nothing_else_changes(old_em, later_path, tmp_path):
    result = continued(old_em, later_path, tmp_path)
    new = load_weights(result.folder / "backbone.safetensors")
    ids = Ids.load(result.folder)
    for side, name in (("users", "user"), ("items", "item")):
        was, now = getattr(old_em.ids, side), getattr(ids, side)
        assert not np.array_equal(was[: len(now)], now[: len(was)])
        before, after = (w[f"backbone.{name}_embedding.weight"] for w in (old_em.weights, new))
        assert torch.equal(before[0], after[0])  # padding
        both = [token for token in now.tolist() if token in set(was.tolist())]
        rows = [[list(tokens).index(token) + 1 for token in both] for tokens in (was, now)]
        assert len(both) == len(was) - len(GONE_ITEMS if name == "item" else GONE_USERS)
        assert torch.equal(before[rows[0]], after[rows[1]])
    facts = result.stages["warm_start"]
    assert (facts["items_kept"], facts["items_added"], facts["items_removed"]) == (45, 2, 3)
    assert (facts["users_kept"], facts["users_added"], facts["users_removed"]) == (78, 4, 2)
    assert facts["from"] == str(old_em.folder)


def test_new_rows_by_hand():
    """Item c is new, and user 3; both tables have one dimension more than a name says."""
    rows = RowMap.between(
        Ids(np.array(["1", "2"]), np.array(["a", "b"])),
        Ids(np.array(["3", "2", "1"]), np.array(["b", "c", "a", "d"])),
    )
    old = {
        "user_table": torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 3.0]]),
        "item_table": torch.tensor([[8.0, 8.0], [3.0, 4.0], [0.0, 1.0]]),
        "lone_item": torch.tensor([[7.0], [2.0], [-4.0]]),
        "layer": torch.tensor([[5.0, 6.0]]),
    }
    new = {
        "user_table": torch.full((4, 2), 0.5),
        "item_table": torch.full((5, 2), 0.5),
        "lone_item": torch.full((5, 1), 0.5),
        "layer": torch.zeros(1, 2),
    }
    # users 3: {b, a}, 2: {c, b}, 1: {c}; nobody has d. Rows and columns with padding.
    has = sp.csr_matrix([[0, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0]])
    found = transfer(old, new, rows, has)
    mean = np.array([0.5, 1.5])  # of users 1 and 2
    c = mean / np.linalg.norm(mean) * 3  # the items' norms are 5 and 1
    expected = [[8, 8], [0, 1], c, [3, 4], [0.5, 0.5]]
    np.testing.assert_allclose(found["item_table"], np.array([*map(list, expected)]), rtol=1e-6)
    mean = np.array([1.5, 2.5])  # of items a and b
    new_user = mean / np.linalg.norm(mean) * 2  # the users' norms are 1 and 3
    expected = [[9, 9], list(new_user), [0, 3], [1, 0]]
    np.testing.assert_allclose(found["user_table"], expected, rtol=1e-6)
    # No table of users goes with it. User 2's known items: b; user 1 has none, so c is like b.
    np.testing.assert_allclose(found["lone_item"][:, 0], [7, -4, -3, 2, 0.5])
    assert torch.equal(found["layer"], old["layer"])


def letters(users: str, items: str) -> Ids:
    return Ids(np.array(list(users)), np.array(list(items)))


def test_as_many_users_as_items_are_told_apart_by_name_or_refused():
    rows = RowMap.between(letters("12", "ab"), letters("21", "ab"))
    has = sp.csr_matrix((3, 3))
    table = torch.arange(3.0).unsqueeze(1)
    named = {"user_x.weight": table, "item_x.weight": table}
    found = transfer(named, {name: torch.zeros(3, 1) for name in named}, rows, has)
    assert found["user_x.weight"].flatten().tolist() == [0, 2, 1]
    assert found["item_x.weight"].flatten().tolist() == [0, 1, 2]
    with pytest.raises(
        ValueError, match=r"the 3 entries of table .* are users or items or neither"
    ):
        transfer({"table": table}, {"table": torch.zeros(3, 1)}, rows, has)


def test_stacked_and_transposed_weights_follow_too():
    rows = RowMap.between(letters("12", "abc"), letters("213", "cb"))
    old = {"both": torch.arange(7.0).view(1, 7), "encoder": torch.arange(8.0).view(2, 4)}
    new = {"both": torch.full((1, 7), -1.0), "encoder": torch.full((2, 3), -1.0)}
    has = sp.csr_matrix((4, 3))
    with pytest.raises(ValueError, match="the 7 entries of both"):  # 3 + 4 were, 4 + 3 are
        transfer(old, new, rows, has)
    rows = RowMap.between(letters("12", "abc"), letters("21", "cb"))
    new["both"] = torch.full((1, 6), -1.0)
    found = transfer(old, new, rows, has[:3])
    assert found["both"].tolist() == [[0, 2, 1, 3, 6, 5]]
    assert found["encoder"].tolist() == [[0, 3, 2], [4, 7, 6]]


@pytest.mark.parametrize("model", ["BPR", "YouTubeNet", "recbole.BPR", "LightGCN", "BUIR", "GC-MC"])
def test_other_models_continue(tiny_path, later_path, tmp_path, model):
    old = finish(model, tiny_path, tmp_path, epochs=1)
    changes = {"warm_start": str(old.folder), "epochs": 2, "checkpoint_dir": str(tmp_path)}
    result = run(model, "later", overrides=tiny_settings(later_path, model, **changes))
    assert result.stages["warm_start"]["items_added"] == 2
    assert result.stages["warm_start"]["epochs_before"] == 1
    ours = not model.startswith("recbole.")  # whose settings no file of ours names
    assert result.stages["warm_start"]["settings_changed"] == ({"epochs": [1, 2]} if ours else {})
    assert set(result.rows[0]["metrics"].values()) != {0.0}


def test_continuing_is_better_than_beginning(old_em, later_path, tmp_path):
    warm = continued(old_em, later_path, tmp_path).stages["backbone"]
    at_rest = {**AT_REST, "epochs": 1, "learning_rate": 1e-12}  # epochs 0 is for a warm start
    settings = tiny_settings(later_path, "HILL", checkpoint_dir=str(tmp_path), **at_rest)
    cold = run("HILL", "later", overrides=settings).stages["backbone"]
    assert warm["valid_score"] > cold["valid_score"] + 0.03


# -- index --------------------------------------------------------------------------------------


def test_new_items_land_in_their_group_before_any_training(old_em, later_path, tmp_path):
    settings = {"warm_start": str(old_em.folder), "run_dir": str(tmp_path), **AT_REST}
    config = HillConfig("HILL", "later", None, tiny_settings(later_path, "HILL", **settings))
    data = load_data(config)
    model = build_model(config, data)
    trainer_for(config, model).warm_start(data.train)
    index = model.index
    tokens = index.items.tolist()
    assert tokens == Ids.of(data.dataset).items.tolist()
    assert not GONE_ITEMS & set(map(int, tokens))
    node = dict(zip(tokens, index.assignments(2).tolist(), strict=True))
    for item, its_group in NEW_ITEMS.items():
        company = [t for t in tokens if node[t] == node[str(item)] and int(t) < 48]
        assert {group(t) for t in company} == {its_group}
    lists = LoadedRun(config, data, model).recommend(["7", "81"], 10)
    assert not {item for listed in lists for item, _ in listed} & set(map(str, GONE_ITEMS))


def test_carried_over_by_hand():
    vectors = np.array([[0, 0], [1, 0], [10, 0], [11, 0], [20, 0]], dtype=np.float32)
    parents = [np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1])]
    index = HierarchicalIndex.build(list("abcde"), parents, vectors)
    now = np.array([[12, 1], [2, 0], [0, 1], [9, 0]], dtype=np.float32)
    carried = carried_over(index, np.array(["x", "b", "a", "d"]), now)
    assert carried.items.tolist() == ["x", "b", "a", "d"]  # e's node is gone, x is with d
    assert carried.parents[0].tolist() == [1, 0, 0, 1] and carried.parents[1].tolist() == [0, 1]
    np.testing.assert_allclose(carried.vectors[0], [[1, 0.5], [9, 0]])
    old = OldIndex.of(index, carried.items, now)
    assert old.survivors.tolist() == [1, 2, 3]
    assert old.codes.tolist() == [[0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(old.start().vectors[1], [[1, 0.5], [9, 0]])
    assert old.drift(np.array([[0, 4, 4, 2], [0, 0, 1, 1]])) == [0, 1 / 3]


def test_matched_drift_by_hand():
    before = np.array([[0, 0, 0, 1, 1, 2]])
    split = np.array([[7, 7, 8, 9, 9, 3]])  # node 0 became two
    assert matched(before, split).tolist() == [[0, 0, 0, 1, 1, 2]]
    merged = np.array([[5, 5, 5, 5, 5, 0]])  # 1 went into 0
    assert drift(before, matched(before, merged)) == [2 / 6]
    exchanged = np.array([[4, 4, 6, 6, 6, 6]])  # the third item and the last moved to node 1's
    assert drift(before, matched(before, exchanged)) == [2 / 6]


def test_drift_of_prefixes_goes_down():
    before, after = np.array([[0, 1, 2], [0, 0, 1]]), np.array([[0, 1, 0], [0, 1, 1]])
    assert drift(before, after) == [1 / 3, 1 / 3]
    assert drift(before, after, "top_down") == [2 / 3, 1 / 3]


@pytest.mark.parametrize("direction", ["bottom_up", "top_down"])
def test_a_published_index_tells_its_codes(direction):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(40, 6, generator=generator)
    schedule = Schedule(50.0, 1.0, 1, 0)
    index = LearnedIndex([9, 4], 6, direction=direction, schedule=schedule).fit(vectors, epochs=3)
    tree = index.publish([str(i) for i in range(40)], vectors)
    books = [nodes.detach().numpy() for nodes in index.nodes]
    np.testing.assert_array_equal(codes_of_tree(tree, books), index.codes(vectors))


def test_k_means_starts_from_fewer_centres():
    rng = np.random.default_rng(0)
    vectors = np.concatenate([c + rng.normal(size=(10, 2)) for c in ([0, 0], [50, 0], [0, 50])])
    vectors = vectors.astype(np.float32)
    items = [str(i) for i in range(30)]
    starts = [vectors[:20].reshape(2, 10, 2).mean(1)]
    index = kmeans_index(vectors, items, [3], seed=0, starts=starts)
    assert {tuple(g) for g in index.assignments(1).reshape(3, 10)} == {
        (0,) * 10,
        (1,) * 10,
        (2,) * 10,
    }


@pytest.mark.parametrize(
    ("learning", "direction"),
    [
        ("em", "bottom_up"),
        ("joint", "top_down"),
        ("separate", "bottom_up"),
        pytest.param("em", "top_down", marks=pytest.mark.slow),
        pytest.param("joint", "bottom_up", marks=pytest.mark.slow),
        pytest.param("separate", "top_down", marks=pytest.mark.slow),
    ],
)
def test_nothing_moves_where_nothing_changes(tiny_path, tmp_path, learning, direction):
    changes = {"index_learning": learning, "index_direction": direction, "index_epochs": 2}
    old = finish("HILL", tiny_path, tmp_path, **{**AT_REST, **changes, "epochs": 3})
    result = continued(
        old, tiny_path, tmp_path, "tiny", **{**changes, "seed": 3, "index_epochs": 0}
    )
    assert result.stages["index"]["drift"] == [0.0, 0.0]
    assert result.stages["warm_start"]["items_added"] == 0
    new = load_weights(result.folder / "adapted.safetensors")
    assert all(torch.equal(new[name], old.weights[name]) for name in new)


def test_drift_is_of_the_surviving_items(old_em, later_path, tmp_path):
    result = continued(old_em, later_path, tmp_path, epochs=2)
    index = HierarchicalIndex.load(result.folder / "index.npz")
    both = [t for t in index.items.tolist() if t in set(old_em.index.items.tolist())]
    for depth in (1, 2):
        before, after = (
            [
                dict(zip(i.items.tolist(), i.assignments(depth).tolist(), strict=True))[t]
                for t in both
            ]
            for i in (old_em.index, index)
        )
        moved = 0
        for node in set(after):
            theirs = [b for b, a in zip(before, after, strict=True) if a == node]
            moved += len(theirs) - max(theirs.count(b) for b in theirs)
        assert result.stages["index"]["drift"][depth - 1] == pytest.approx(moved / len(both))
    assert "items: 45 kept, 2 added, 3 removed" in arms_table(result.rows)
    assert "at depth 2" in arms_table(result.rows)


def test_joint_goes_on_with_its_nodes_and_step(old_joint, later_path, tmp_path, monkeypatch):
    steps = old_joint.weights["learner.step"]
    stages = json.loads((old_joint.folder / "stages.json").read_text())
    assert steps == 5 * stages["index"]["steps_per_epoch"] - stages["index"]["steps_per_epoch"]
    rest = continued(old_joint, later_path, tmp_path, index_learning="joint", index_epochs=3)
    kept = load_weights(rest.folder / "adapted.safetensors")
    for name in ("learner.nodes.0", "learner.nodes.1"):
        assert torch.equal(kept[name], old_joint.weights[name])
    per_epoch = rest.stages["index"]["steps_per_epoch"]
    assert kept["learner.step"] == round(
        int(steps) / stages["index"]["steps_per_epoch"] * per_epoch
    )

    monkeypatch.setattr(LearnedIndex, "start", None)  # no new k-means
    changes = {"index_learning": "joint", "index_epochs": 3, "epochs": 1}
    trained = continued(old_joint, later_path, tmp_path, **changes)
    new = load_weights(trained.folder / "adapted.safetensors")
    assert new["learner.step"] == kept["learner.step"] + per_epoch  # from the first epoch on
    moved = (new["learner.nodes.0"] - kept["learner.nodes.0"]).norm() / kept[
        "learner.nodes.0"
    ].norm()
    assert 0 < moved < 0.5
    assert len(trained.stages["index"]["drift"]) == 2


# -- runs ---------------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.parametrize("learning, epoch", [("em", 0), ("joint", 1)])
def test_a_killed_run_resumes_to_the_same_bits(
    old_em, old_joint, later_path, tmp_path, monkeypatch, learning, epoch
):
    old = {"em": old_em, "joint": old_joint}[learning]
    changes = {"index_learning": learning, "epochs": 2}
    whole = continued(old, later_path, tmp_path / "whole", **changes)
    original = RunTrainer._save_state

    def save_then_die(self, at, loader):
        original(self, at, loader)
        if at == epoch:
            raise Killed

    monkeypatch.setattr(RunTrainer, "_save_state", save_then_die)
    with pytest.raises(Killed):
        continued(old, later_path, tmp_path / "killed", **changes)
    monkeypatch.undo()
    resumed = run(resume=str(next((tmp_path / "killed").iterdir())))
    assert resumed.rows[-1]["metrics"] == whole.rows[-1]["metrics"]
    assert resumed.stages["index"]["drift"] == whole.stages["index"]["drift"]
    first, second = (load_weights(r.folder / "adapted.safetensors") for r in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_says_what_was_trained_on_before(old_em, tiny_path, later_path, tmp_path):
    result = continued(old_em, later_path, tmp_path)
    before = load_data(HillConfig("HILL", "tiny", None, tiny_settings(tiny_path, "HILL")))
    after = load_data(HillConfig("HILL", "later", None, tiny_settings(later_path, "HILL")))

    def pairs(loader):
        dataset = loader._dataset
        fields = (dataset.uid_field, dataset.iid_field)
        tokens = [dataset.field2id_token[f][dataset.inter_feat[f].numpy()] for f in fields]
        return set(zip(*tokens, strict=True))

    trained = pairs(before.train)
    seen = result.stages["warm_start"]["seen_before"]
    for part in ("valid", "test"):
        ours = pairs(getattr(after, part))
        assert seen[part] == pytest.approx(len(ours & trained) / len(ours))
    assert seen["valid"] > 0.5 and seen["test"] == 0
    assert f"trained on {seen['valid']:.2%} of validation" in arms_table(result.rows)

    moved = tmp_path / "data"  # its data are gone
    settings = json.loads(json.dumps(result.rows[0]["settings"]))
    folder = tmp_path / "moved"
    shutil.copytree(old_em.folder, folder)
    text = (folder / "config.yaml").read_text().replace(str(tiny_path), str(moved))
    (folder / "config.yaml").write_text(text)
    settings |= {"warm_start": str(folder), "checkpoint_dir": str(tmp_path / "runs")}
    again = run("HILL", "later", overrides=settings)
    assert again.stages["warm_start"]["seen_before"] == {"valid": None, "test": None}
    assert "it is unknown how much" in arms_table(again.rows)


def test_a_finished_run_does_not_need_the_old_one(old_em, later_path, tmp_path):
    copy = tmp_path / "old"
    shutil.copytree(old_em.folder, copy)
    (copy / "ids.json").unlink()  # as runs were before they kept their ids
    old = Old(copy, old_em.index, old_em.ids, old_em.weights)
    result = continued(old, later_path, tmp_path)
    assert result.stages["warm_start"]["items_kept"] == 45
    shutil.rmtree(copy)
    assert run(resume=str(result.folder)).rows[0]["metrics"] == result.rows[0]["metrics"]


def test_a_chain_counts_its_epochs(old_em, tiny_path, later_path, tmp_path):
    second = continued(old_em, later_path, tmp_path, epochs=1)
    first = json.loads((old_em.folder / "stages.json").read_text())["backbone"]["epochs"]
    assert second.stages["warm_start"]["epochs_before"] == first
    config = HillConfig("HILL", "later", None, {**second.rows[0]["settings"], "run_dir": "x"})
    assert OldRun.load(second.folder, config).epochs == first + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warm_start": "nowhere"}, "nowhere is not a run's folder"),
        ({"backbone": "LightGCN"}, "a run with backbone 'NESCL', not 'LightGCN'"),
        ({"embedding_size": 8}, "a run with embedding_size 16, not 8; accepted is embedding_size"),
        ({"nodes_per_depth": [10, 4]}, r"nodes_per_depth \[12, 4\], not \[10, 4\]"),
        ({"index_learning": "joint"}, "index_learning 'em', not 'joint'"),
        ({"backbone_from": "there"}, "backbone_from must name a finished run's folder; there has"),
    ],
)
def test_a_run_that_cannot_be_continued(old_em, later_path, tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        continued(old_em, later_path, tmp_path, **changes)


def test_another_model_an_unfinished_run_and_a_model_without_rows(
    old_em, later_path, tmp_path, tiny_path
):
    def refused(model, folder, message):
        changes = {"warm_start": str(folder), "run_dir": str(tmp_path / "run")}
        config = HillConfig(model, "later", None, tiny_settings(later_path, model, **changes))
        data = load_data(config)
        model = build_model(config, data)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            inherit_weights(model, OldRun.load(folder, config), data.train._dataset)

    refused("NESCL", old_em.folder, "a run with model 'HILL', not 'NESCL'")
    refused("EASE", finish("EASE", tiny_path, tmp_path).folder, "EASE is fitted at once")
    copy = tmp_path / "old"
    shutil.copytree(old_em.folder, copy)
    (copy / "adapted.safetensors").unlink()
    refused("HILL", copy, "has not finished; continue it with --resume")


def test_data_that_share_no_item_are_named(old_em, later_path, tmp_path):
    config = {"warm_start": str(old_em.folder), "run_dir": str(tmp_path)}
    config = HillConfig("HILL", "later", None, tiny_settings(later_path, "HILL", **config))
    data = load_data(config)
    old = OldRun.load(old_em.folder, config)
    other = Ids(old.ids.users, np.char.add("x", old.ids.items))
    object.__setattr__(old, "ids", other)
    with pytest.raises(ValueError, match=r"tiny \(of .*\) and later share no item"):
        inherit_weights(build_model(config, data), old, data.train._dataset)
