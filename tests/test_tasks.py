"""Labels: read, made, and not given away."""

import shutil

import impressions
import numpy as np
import pytest
import torch
from recbole.utils import FeatureType

from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.data.tasks import _area_under_curve, _gives_away, label_matrix, tasks_of


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
        ({"click": {"weight": float("nan")}}, "weight must not be negative, got nan"),
        ({"click": {"field": "stars", "weight": 0}}, "tasks: every weight is 0"),
        ({"place": {"field": "stars"}}, r"task place: its name is .* column of log\.inter"),
        ({"height": {"field": "stars"}}, r"task height: its name is .* column of log\.user"),
        ({"tags": {"field": "stars"}}, r"task tags: its name is .* column of log\.item"),
        ({"user_id": {"field": "user_id"}}, "task user_id: its name is that of a column"),
        (["click"], "tasks must be name: {field"),
        ({"click": {"field": "nowhere"}}, "'nowhere' is not among the columns"),
        ({"click": {"field": "stars", "at_least": 9}}, "all .* training rows are 0"),
        ({"click": {"field": "stars", "at_least": 0}}, "all .* training rows are 1"),
        ({}, "MoNN needs labels"),
    ],
)
def test_bad_tasks_are_named(path, tasks, message):
    from recbole_hill.model.build import build_model

    with pytest.raises(ValueError, match=message):
        made = config(path, tasks=tasks)
        build_model(made, load_data(made))


def test_a_task_may_be_named_as_its_own_column(path):
    data = load_data(config(path, tasks={"stars": {"field": "stars", "at_least": 3}}))
    expected = load_data(config(path)).train._dataset.inter_feat["click"]
    assert torch.equal(data.train._dataset.inter_feat["stars"], expected)


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


def test_labels_of_tokens_are_refused(path, tmp_path):
    """RecBole makes ids of them before the labels are made, which would be of the ids."""

    def change(number, line):
        return line if number else line.replace("stars:float", "stars:token")

    message = r"task click: stars is of type token in log\.inter; accepted is float"
    with pytest.raises(ValueError, match=message):
        load_data(config(edited(path, tmp_path, change)))


def test_one_class_cannot_be_chosen_on(path, tmp_path):
    def change(number, line):
        parts = line.split("\t")
        return "\t".join([*parts[:2], "9", *parts[3:]]) if number in (1, 2) else line

    tasks = {"click": {"field": "stars", "at_least": 9}}
    root = edited(path, tmp_path, change)
    with pytest.raises(ValueError, match=r"task click .* all 120 validation rows are 0"):
        load_data(config(root, tasks=tasks))
    load_data(config(root, tasks={"buy": impressions.TASKS["buy"], **tasks}))


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
    from recbole_hill.model.build import build_model

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


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("token", lambda liked, rng: liked and rng.random() < 0.6, "rows of one of its values are"),
        ("float", lambda liked, rng: liked and rng.random() < 0.6, "rows of one of its values are"),
        ("float", lambda liked, rng: rng.normal() + 4 * liked, r"area under the curve 0\.99[78]"),
        ("token", lambda liked, rng: rng.integers(3), None),
        ("token", lambda liked, rng: liked and rng.random() < 0.1, None),  # some 30 rows
        ("float", lambda liked, rng: rng.normal() + 2 * liked, None),
    ],
)
def test_a_column_of_impressions_may_not_nearly_leak(path, tmp_path, kind, value, found):
    from recbole_hill.model.build import build_model

    rng = np.random.default_rng(0)

    def change(number, line):
        if not number:
            return f"{line}\tplayed:{kind}"
        return f"{line}\t{float(value(float(line.split()[2]) >= 3, rng))}"

    load = {**impressions.LOAD, "inter": [*impressions.LOAD["inter"], "played"]}
    root = edited(path, tmp_path, change)
    made = config(root, load_col=load)
    if found is None:
        build_model(made, load_data(made))
        return
    with pytest.raises(
        ValueError, match=f"feature 'played' .* task click away: .*{found}.*trusted"
    ):
        build_model(made, load_data(made))
    made = config(root, load_col=load, trusted_columns=["played"])
    assert "played" in build_model(made, load_data(made)).data.context.__dict__[f"{kind}_fields"]
    with pytest.raises(ValueError, match=r"trusted_columns must be among .*played.*, got 'plaid'"):
        made = config(root, load_col=load, trusted_columns=["plaid"])
        build_model(made, load_data(made))


@pytest.mark.parametrize(
    ("rows", "label", "refused"),
    [(100, 0, False), (670, 0, False), (700, 0, True), (99, 1, False), (100, 1, True)],
)
def test_a_pure_value_of_a_rare_task_may_be_chance(rows, label, refused):
    """At a base rate of 2 %, 684 rows of 0 have a chance of a millionth; 99 rows are below 1 %."""
    labels, values = np.zeros(10_000), np.arange(10_000) % 7 + 2
    labels[::50] = 1
    values[np.flatnonzero(labels == label)[:rows]] = 1
    kind = FeatureType.TOKEN
    assert bool(_gives_away(values, labels, kind, of_impression=True)) == refused
    assert not _gives_away(values, labels, kind, of_impression=False)  # a user's or an item's


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
