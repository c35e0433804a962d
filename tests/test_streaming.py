"""Online training: judged before learnt, resumable, with items that come and go."""

import json
import shutil

import impressions
import numpy as np
import pytest
import torch

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled import stream as streaming
from recbole_hill.labelled.hsnn import HSNN
from recbole_hill.labelled.search import ExhaustiveSearch
from recbole_hill.labelled.stream import run_stream
from recbole_hill.labelled.trainer import LabelledTrainer
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.run.provenance import commit
from recbole_hill.serve.loaded_run import LoadedRun

SMALL = {"hsnn_layers": [{"size": "S", "nodes": 6}, {"size": "XS"}], "index_warmup_epochs": 0}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("log"))


def settings(path, folder, model="HSNN", **changes):
    small = SMALL if model == "HSNN" else {}
    made = impressions.settings(path, run_dir=str(folder), **small, **changes)
    del made["epochs"]
    return made


def times_and_items(path):
    """Times and items of the log in the order of time, ties in that of the file."""
    with open(path / "log" / "log.inter") as file:
        rows = [line.split("\t") for line in list(file)[1:]]
    order = np.argsort([float(row[4]) for row in rows], kind="stable")
    return [rows[n] for n in order]


def test_items_come_and_go_and_a_snapshot_is_kept_of_each_slice(path, tmp_path):
    torch.set_num_threads(2)  # the setting `threads` says 1
    records = run_stream("HSNN", "log", slices=6, keep=1, overrides=settings(path, tmp_path / "s"))
    rows = times_and_items(path)
    before = set()
    for number, record in enumerate(records):
        shown = {row[1] for row in rows[number * 240 : (number + 1) * 240]}
        assert record.rows == 240 and record.items == len(shown)
        assert (record.added, record.deleted) == (len(shown - before), len(before - shown))
        index = HierarchicalIndex.load(tmp_path / "s" / "snapshots" / str(number) / "index.npz")
        assert set(index.items.tolist()) == shown
        assert (tmp_path / "s" / f"slice_{number}.safetensors").is_file()
        assert all(0 <= share <= 1 for share in record.drift)
        before = shown
    assert records[0].metrics == {} and 0 < records[-1].metrics["ne"] < 1.2
    written = [json.loads(line) for line in (tmp_path / "s" / "slices.jsonl").open()]
    noted = json.loads((tmp_path / "s" / "data.json").read_text())["sha256"]
    for row in written:
        assert (row["model"], row["dataset"], row["data_sha256"]) == ("HSNN", "log", noted)
        assert row["commit"] == commit() and row["device"] == "cpu, 1 threads"
    assert [row["metrics"] for row in written] == [record.metrics for record in records]


@pytest.fixture(scope="module")
def young(tmp_path_factory):
    """A log whose second half of items is born halfway."""
    root = impressions.write(tmp_path_factory.mktemp("young"))
    head, *rows = (root / "log" / "log.inter").read_text().splitlines()
    rows = [row.split("\t") for row in rows]
    half = impressions.N_ITEMS // 2
    late = [[*row[:4], str(500 + float(row[4]) / 2)] for row in rows if int(row[1][1:]) >= half]
    soon = [row for row in rows if int(row[1][1:]) < half]
    text = "\n".join([head, *("\t".join(row) for row in soon + late)]) + "\n"
    (root / "log" / "log.inter").write_text(text)
    return root


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("HSNN", {}),
        pytest.param("HSNN", {"index_learning": "em"}, marks=pytest.mark.slow),
        pytest.param("HSNN", {"index_learning": "separate"}, marks=pytest.mark.slow),
        ("EBR", {"nodes_per_depth": [6]}),
        ("MoNN", {}),
    ],
)
def test_what_is_not_alive_is_neither_listed_nor_stands_for_a_node(young, tmp_path, model, changes):
    made = settings(young, tmp_path, model, **changes)
    run_stream(model, "log", slices=6, keep=2, overrides=made)
    rows = times_and_items(young)
    size = len(rows) / 6
    for number in (0, 3, 5):
        served = LoadedRun.load(tmp_path, snapshot=number)
        begin, end = (round(size * n) for n in (max(0, number - 1), number + 1))
        alive = {row[1] for row in rows[begin:end]}
        listed = {i for one in served.recommend(["u1", "u2", "u3"], 8) for i, _ in one}
        assert listed and listed <= alive
        seen = {row[1] for row in rows[:end] if row[0] == "u1"}
        assert not seen & {i for i, _ in served.recommend(["u1"], 8)[0]}
        if served.index is not None:
            assert set(served.index.items.tolist()) == alive
        if model == "HSNN":
            tables = served.model.tables()
            representatives = served.item_tokens[tables.representatives[0].numpy() - 1]
            assert set(representatives) <= alive
            full = served.model.searcher(full=True).search(torch.tensor([3, 4]), 5)
            every = ExhaustiveSearch(served.model).search(torch.tensor([3, 4]), 5)
            assert torch.equal(full[1], every[1])
    last = LoadedRun.load(tmp_path)  # the last snapshot
    assert last.recommend(["u1"], 5) == served.recommend(["u1"], 5)
    with pytest.raises(FileNotFoundError, match="has not finished slice 6"):
        LoadedRun.load(tmp_path, snapshot=6)


def test_contexts_that_come_later_have_a_vector(path, tmp_path):
    """A stream's vocabulary is the catalogue's; here the first slice knows one place alone."""
    root = tmp_path / "places"
    shutil.copytree(path / "log", root / "log")
    head, *rows = (root / "log" / "log.inter").read_text().splitlines()
    rows = [row.split("\t") for row in rows]
    rows = [[*r[:3], "p0" if float(r[4]) < 600 else r[3], r[4]] for r in rows]
    (root / "log" / "log.inter").write_text("\n".join([head, *map("\t".join, rows)]) + "\n")
    run_stream("MoNN", "log", slices=2, overrides=settings(root, tmp_path / "s", "MoNN"))
    context = LoadedRun.load(tmp_path / "s").model.data.context
    assert context.vocabulary == 1 + len({row[3] for row in rows})


@pytest.mark.slow
def test_ebr_and_k_means_nodes_follow_the_stream(path, tmp_path):
    """The items of each slice are clustered as they are after it."""
    moved = {}
    for name, model, changes in (
        ("EBR", "EBR", {"nodes_per_depth": [6]}),
        ("em", "HSNN", {"index_learning": "em"}),
        ("separate", "HSNN", {"index_learning": "separate"}),
    ):
        made = settings(path, tmp_path / name, model, **changes)
        records = run_stream(model, "log", slices=3, overrides=made)
        assert (tmp_path / name / "snapshots" / "2" / "index.npz").is_file()
        moved[name] = sum(sum(record.drift) for record in records)
    assert moved["EBR"] > 0 and moved["em"] > 0 and moved["separate"] == 0


def test_nothing_of_a_slice_is_known_when_it_is_judged(path, tmp_path, monkeypatch):
    """The history at each judgement holds the clicks of the slices before, and no more."""
    sizes = []
    original = LabelledTrainer.evaluate

    def looks(self, eval_data, **kwargs):
        sizes.append(len(self.model.data.history.items))
        return original(self, eval_data, **kwargs)

    monkeypatch.setattr(LabelledTrainer, "evaluate", looks)
    run_stream("MoNN", "log", slices=4, overrides=settings(path, tmp_path, "MoNN"))
    liked = [float(row[2]) >= 3 for row in times_and_items(path)]
    assert sizes == [sum(liked[: 360 * number]) for number in (1, 2, 3)]


def test_a_slice_is_judged_by_the_weights_of_the_one_before(path, tmp_path, monkeypatch):
    judges = []
    original = LabelledTrainer.evaluate

    def looks(self, eval_data, **kwargs):
        judges.append({name: v.clone() for name, v in self.model.state_dict().items()})
        return original(self, eval_data, **kwargs)

    monkeypatch.setattr(LabelledTrainer, "evaluate", looks)
    run_stream("MoNN", "log", slices=3, overrides=settings(path, tmp_path, "MoNN"))
    kept = [load_weights(tmp_path / f"slice_{number}.safetensors") for number in range(3)]
    assert len(judges) == 2
    for number, judge in enumerate(judges):
        assert all(torch.equal(judge[name], value) for name, value in kept[number].items())
        assert any(not torch.equal(judge[name], value) for name, value in kept[number + 1].items())


def test_the_first_index_is_of_trained_vectors(path, tmp_path, monkeypatch):
    """As in a run; a separate index would be of vectors drawn at random for ever."""
    seen, original, cluster = {}, HSNN.item_layer_loss, HSNN._cluster

    def first_loss(self, interaction):
        seen.setdefault("untrained", self.index_vectors())
        seen["steps"] = seen.get("steps", 0) + 1
        return original(self, interaction)

    def clusters(self, vectors):
        seen.setdefault("clustered", []).append(vectors)
        cluster(self, vectors)

    monkeypatch.setattr(HSNN, "item_layer_loss", first_loss)
    monkeypatch.setattr(HSNN, "_cluster", clusters)
    made = settings(path, tmp_path, index_learning="separate", item_epochs=3)
    run_stream("HSNN", "log", slices=3, overrides=made)
    assert seen["steps"] == 3 * 4 and len(seen["clustered"]) == 1  # 480 rows, 128 a step
    moved = seen["clustered"][0] - seen["untrained"]
    assert moved.norm() > 0.1 * seen["untrained"].norm()


def test_numbers_are_normalised_by_what_the_first_slice_shows(young, tmp_path):
    """Half of the items are born later, though every one of them has a vector."""
    made = settings(young, tmp_path, "MoNN")
    run_stream("MoNN", "log", slices=6, overrides=made)
    model = LoadedRun.load(tmp_path).model
    rows = times_and_items(young)
    shown = {int(row[1][1:]) for row in rows[: len(rows) // 6]}
    assert len(shown) == impressions.N_ITEMS // 2 and 7 in shown  # whose price is missing
    mean = np.mean([i % 9 for i in range(impressions.N_ITEMS) if i != 7])  # RecBole's filling
    prices = [mean if i == 7 else i % 9 for i in shown]
    found = model.data.items._scales["price"]
    assert found == pytest.approx((np.mean(prices), np.std(prices)))
    assert (model.data.item_features.tokens[1:, 0] > 0).all()


def test_a_stopped_stream_goes_on(path, tmp_path, monkeypatch):
    whole = run_stream("HSNN", "log", slices=3, overrides=settings(path, tmp_path / "whole"))
    original, calls = streaming._train, []

    def dies(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(streaming, "_train", dies)
    with pytest.raises(KeyboardInterrupt):
        run_stream("HSNN", "log", slices=3, overrides=settings(path, tmp_path / "cut"))
    # What of a machine bears on nothing may change.
    free = {"threads": None, "state": "WARNING"}
    again = run_stream("HSNN", "log", slices=3, overrides=settings(path, tmp_path / "cut") | free)
    assert [r.metrics for r in again] == [r.metrics for r in whole]
    assert [r.drift for r in again] == [r.drift for r in whole]
    # Cut otherwise, slices would be judged by what was trained on them.
    with pytest.raises(ValueError, match="other settings: slices is 6 here and 3 there"):
        run_stream("HSNN", "log", slices=6, overrides=settings(path, tmp_path / "cut"))
    with pytest.raises(ValueError, match="other settings: keep is 2 here and None there"):
        run_stream("HSNN", "log", slices=3, keep=2, overrides=settings(path, tmp_path / "cut"))
    with pytest.raises(ValueError, match=r"a stream of other settings: learning_rate is 0\.5"):
        changed = settings(path, tmp_path / "cut") | {"learning_rate": 0.5}
        run_stream("HSNN", "log", slices=3, overrides=changed)


def test_a_stream_serves_the_slice_that_it_finished_last_or_none(path, tmp_path):
    given, folder = settings(path, tmp_path / "s"), tmp_path / "s"
    run_stream("HSNN", "log", slices=2, overrides=given)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("learning_rate: ", "learning_rate: 1"))
    with pytest.warns(UserWarning, match=r"config\.yaml was changed after the run"):
        LoadedRun.load(folder)
    with pytest.raises(ValueError, match=r"config\.yaml was changed after the run"):
        run_stream("HSNN", "log", slices=2, overrides=given)
    (folder / "config.yaml").write_text(config)
    weights = folder / "slice_1.safetensors"
    weights.rename(tmp_path / "kept")
    with pytest.raises(ValueError, match=r"slice_1\.safetensors is not a whole weights file"):
        LoadedRun.load(folder)
    weights.symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"slice_1\.safetensors is not a whole weights file"):
        LoadedRun.load(folder)
    (tmp_path / "kept").replace(weights)
    (path / "log" / "log.user").rename(tmp_path / "log.user")
    try:
        with pytest.raises((ValueError, FileNotFoundError), match=r"log\.user"):
            LoadedRun.load(folder)
    finally:
        (tmp_path / "log.user").rename(path / "log" / "log.user")


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("BPR", {}, "a stream trains MoNN, TTSN, EBR or HSNN, got BPR"),
        ("MoNN", {"slices": 1}, "slices must be an integer of at least 2, got 1"),
        ("MoNN", {"keep": 0}, "keep must be an integer of at least 1, got 0"),
        ("MoNN", {"slices": 9999}, "slices 9999 are more than 1440 impressions"),
        ("MoNN", {"lr_rule": "plateau"}, "lr_rule must be constant, got 'plateau'"),
        ("MoNN", {"load": ["user_id", "item_id", "stars"]}, "a stream needs times"),
    ],
)
def test_bad_streams_are_named(path, tmp_path, model, changes, message):
    made = settings(path, tmp_path, model)
    if load := changes.get("load"):
        made["load_col"] = {**impressions.LOAD, "inter": load}
    made |= {key: changes[key] for key in changes if key == "lr_rule"}
    changes = {key: changes[key] for key in changes if key in ("slices", "keep")}
    with pytest.raises(ValueError, match=message):
        run_stream(model, "log", overrides=made, **{"slices": 3, **changes})
