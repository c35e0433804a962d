"""Labels: read, made, and not given away."""

import shutil

import impressions
import numpy as np
import pytest
import torch

from recbole_hill.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.data.tasks import _area_under_curve, label_matrix, tasks_of


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return impressions.write(tmp_path_factory.mktemp("log"))


def config(path, **changes):
    return HillConfig("MoNN", "log", None, impressions.settings(path, **changes))


def test_labels_are_thresholds_of_their_column(path):
    data = load_data(config(path))
    known = {}
    dataset = data.dataset
    with open(path / "log" / "log.inter") as file:
        next(file)
        for line in file:
            user, item, stars, *_ = line.split("\t")
            known[user, item] = float(stars)
    rows = data.train._dataset.inter_feat
    users, items = (
        dataset.field2id_token[f][rows[f].numpy()] for f in (dataset.uid_field, dataset.iid_field)
    )
    stars = torch.tensor([known[pair] for pair in zip(users, items, strict=True)])
    labels = label_matrix(rows, tasks_of(config(path)))
    assert torch.equal(labels[:, 0], (stars >= 3).float())
    assert torch.equal(labels[:, 1], (stars >= 5).float())
    assert "stars" not in rows  # what labels are made of is no feature


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"click": {"field": "stars", "least": 3}}, "task click: unknown key 'least'"),
        ({"click": {"at_least": "x"}}, "at_least must be a number, got 'x'"),
        ({"click": {"weight": -1}}, "weight must not be negative, got -1"),
        (["click"], "tasks must map names"),
        ({"click": {"field": "nowhere"}}, "'nowhere' is not among the columns"),
        ({"click": {"field": "stars", "at_least": 9}}, "all .* training rows are 0"),
        ({"click": {"field": "stars", "at_least": 0}}, "all .* training rows are 1"),
        ({}, "MoNN needs labels"),
    ],
)
def test_bad_tasks_are_named(path, tasks, message):
    from recbole_hill.quick_start import build_model

    with pytest.raises(ValueError, match=message):
        made = config(path, tasks=tasks)
        build_model(made, load_data(made))


def edited(path, root, change):
    """Copies the log with changed interaction lines."""
    folder = root / "log"
    folder.mkdir()
    for name in ("user", "item", "inter"):
        text = (path / "log" / f"log.{name}").read_text().splitlines()
        if name == "inter":
            text = [change(number, line) for number, line in enumerate(text)]
        (folder / f"log.{name}").write_text("\n".join(text) + "\n")
    return root


def test_a_missing_label_is_named(path, tmp_path):
    def change(number, line):
        parts = line.split("\t")
        return "\t".join([*parts[:2], "", *parts[3:]]) if number == 5 else line

    with pytest.raises(ValueError, match=r"task click: stars is missing in 1 of 1440 .* row 5"):
        load_data(config(edited(path, tmp_path, change)))


@pytest.mark.parametrize(
    ("kind", "of_label"),
    [
        ("float", {False: ["0"], True: ["1"]}),
        ("float", {False: ["0", "2"], True: ["1"]}),  # it does not order the rows
        ("token", {False: ["no"], True: ["yes"]}),
        ("token_seq", {False: ["none"], True: ["card bank", "bank card"]}),
    ],
)
def test_a_feature_that_leaks_the_label_is_refused(path, tmp_path, kind, of_label):
    from recbole_hill.quick_start import build_model

    def change(number, line):
        if not number:
            return f"{line}\tpaid:{kind}"
        values = of_label[float(line.split("\t")[2]) >= 3]
        return f"{line}\t{values[number % len(values)]}"

    root = edited(path, tmp_path, change)
    load = {**impressions.LOAD, "inter": [*impressions.LOAD["inter"], "paid"]}
    leaky = config(root, load_col=load)
    with pytest.raises(ValueError, match="feature 'paid' gives the label of task click away"):
        build_model(leaky, load_data(leaky))
    clean = config(root)  # load_col leaves it out
    build_model(clean, load_data(clean))


def test_a_column_that_its_file_lacks_is_named(path, tmp_path):
    load = {**impressions.LOAD, "item": ["item_id", "categroy"]}
    message = "load_col: item: 'categroy' is no column of log.item, which has item_id, category"
    with pytest.raises(ValueError, match=message):
        load_data(config(path, load_col=load))
    shutil.copytree(path / "log", tmp_path / "log")
    (tmp_path / "log" / "log.user").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"load_col names columns of user, but .* not exist"
    ):
        load_data(config(tmp_path))


def test_area_under_curve_by_hand():
    values, labels = np.array([1.0, 2, 2, 3]), np.array([0, 0, 1, 1])
    # Pairs (negative, positive): 1<2, 1<3, 2=2 (half), 2<3.
    assert _area_under_curve(values, labels) == pytest.approx(3.5 / 4)
