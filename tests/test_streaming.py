"""Online training: judged before learnt, resumable, with items that come and go."""

import json

import impressions
import numpy as np
import pytest

from recbole_hill import streaming
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled_trainer import LabelledTrainer
from recbole_hill.streaming import run_stream

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
    assert [row["metrics"] for row in written] == [record.metrics for record in records]


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
    again = run_stream("HSNN", "log", slices=3, overrides=settings(path, tmp_path / "cut"))
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


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("BPR", {}, "a stream trains MoNN, TTSN, EBR or HSNN, got BPR"),
        ("MoNN", {"slices": 1}, "slices must be an integer of at least 2, got 1"),
        ("MoNN", {"keep": 0}, "keep must be an integer of at least 1, got 0"),
        ("MoNN", {"slices": 9999}, "slices 9999 are more than 1440 impressions"),
        ("MoNN", {"load": ["user_id", "item_id", "stars"]}, "a stream needs times"),
    ],
)
def test_bad_streams_are_named(path, tmp_path, model, changes, message):
    made = settings(path, tmp_path, model)
    if load := changes.pop("load", None):
        made["load_col"] = {**impressions.LOAD, "inter": load}
    with pytest.raises(ValueError, match=message):
        run_stream(model, "log", overrides=made, **{"slices": 3, **changes})
