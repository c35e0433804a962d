"""Made-up impressions at small sizes: the same every time, true to probabilities and births."""

import sys

import numpy as np
import pytest
from features_yaml import columns_of, load_features, read_features

SIZES = {"n_rows": 30_000, "n_items": 1_500, "n_users": 200}


@pytest.fixture(scope="module")
def made(import_benchmark):
    """The script as a module."""
    return import_benchmark("synthetic_impressions")


@pytest.fixture(scope="module")
def log(made):
    return made.Log(**SIZES, seed=3)


@pytest.fixture(scope="module")
def rows(made, log):
    return joined(made, log)


def joined(made, log):
    blocks = list(log.blocks())
    names = made.Rows.__dataclass_fields__
    return made.Rows(*(np.concatenate([getattr(b, name) for b in blocks]) for name in names))


def test_the_same_seed_draws_the_same_log(made, log, rows):
    again = joined(made, made.Log(**SIZES, seed=3))
    other = joined(made, made.Log(**SIZES, seed=4))
    for name in made.Rows.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))
    assert (other.users != rows.users).any() and (other.items != rows.items).any()


def test_rows_come_in_blocks_of_equal_size(made, log, monkeypatch):
    monkeypatch.setattr(made, "BLOCK", 7_000)
    assert [len(block.users) for block in log.blocks()] == [7_000] * 4 + [2_000]
    times = joined(made, log).times
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] <= made.SPAN


def test_the_catalogue_is_a_tree_and_no_tag_is_of_two_kinds(made, log):
    assert sorted(np.bincount(log.topics)) == [15] * made.TOPICS
    kinds = log.items.tags // made.TAGS_PER_KIND
    assert (kinds == np.arange(made.TAG_KINDS)).all()
    assert (log.users.likes_category.sum(1) == made.LIKED_CATEGORIES).all()
    for user in (0, 5):
        liked = np.flatnonzero(log.users.likes_category[user])
        np.testing.assert_array_equal(log.users.categories[user], liked)


def test_logits_against_a_slow_reference(made, log):
    users, items = log.users, log.items
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        user = int(rng.integers(log.n_users))
        shown = np.flatnonzero(users.likes_category[user][items.categories])  # of liked categories
        item = int(rng.choice(shown if rng.random() < 0.8 else log.n_items))
        expected = -2.2 + users.habit[user] + items.quality[item]
        expected += 0.7 * (users.vectors[user] * items.vectors[item]).sum() / 12**0.5
        liked = items.categories[item] in users.categories[user]
        own_band = users.bands[user] == items.bands[item]
        expected += (4 if own_band else -2) if liked else 0
        tags = len(set(items.tags[item]) & set(np.flatnonzero(users.likes_tag[user])))
        own_format = users.formats[user] == items.formats[item]
        expected += (1 - 2**-tags) * (2 if own_format else -1)
        assert log.logits(np.array(user), np.array(item)) == pytest.approx(expected)
        seen.add((liked, bool(own_band), tags > 0, bool(own_format)))
    assert len(seen) >= 12  # the cases were met
    grid = log.logits(np.arange(4)[:, None], np.arange(6))
    assert grid[2, 5] == pytest.approx(log.logits(np.array(2), np.array(5)))


def test_labels_follow_their_probabilities(made, log, rows):
    np.testing.assert_allclose(rows.chances, log.probability(rows.users, rows.items))
    spread = np.sqrt((rows.chances * (1 - rows.chances)).sum())
    assert abs(rows.clicks.sum() - rows.chances.sum()) < 4 * spread
    assert 0.15 < rows.clicks.mean() < 0.3
    sure = rows.chances > 0.8
    assert sure.sum() > 500
    assert rows.clicks[sure].mean() == pytest.approx(rows.chances[sure].mean(), abs=0.05)

    assert not (rows.conversions & ~rows.clicks).any()
    converted = log.probability(rows.users, rows.items, "conversion")
    assert (converted < rows.chances).all()
    assert abs(rows.conversions.sum() - converted.sum()) < 4 * np.sqrt(converted.sum())
    assert 0.005 < rows.conversions.mean() < 0.1
    with pytest.raises(ValueError, match="label must be click or conversion, got 'like'"):
        log.probability(rows.users, rows.items, "like")


def test_nothing_is_shown_before_its_birth(made, log, rows):
    births = log.items.births
    assert (np.diff(births) >= 0).all()
    assert (births == 0).mean() == pytest.approx(made.OLD, abs=0.05)
    assert (births[rows.items] <= rows.times).all()
    late = births[rows.items] > 0.8 * made.SPAN
    assert late.any() and rows.times[late].min() > 0.8 * made.SPAN


def test_a_shelf_draws_born_items_of_the_group_by_popularity(made):
    facts = {"births": np.array([0.0, 0.0, 100.0, 200.0]), "popularity": np.array([1.0, 3, 4, 2])}
    blank = dict.fromkeys(made.Items.__dataclass_fields__) | facts
    shelf = made.Shelf(np.array([5, 2, 5, 2]), made.Items(**blank))
    rng = np.random.default_rng(0)

    def shares(group, time):
        found = shelf.draw(np.full(20_000, group), np.full(20_000, time), rng)
        return [(found == item).mean() for item in (-1, 0, 1, 2, 3)]

    assert shares(5, 99.0) == [0, 1, 0, 0, 0]
    assert shares(5, 100.0) == pytest.approx([0, 0.2, 0, 0.8, 0], abs=0.02)
    assert shares(2, 150.0) == [0, 0, 1, 0, 0]
    assert shares(2, 900.0) == pytest.approx([0, 0, 0.6, 0, 0.4], abs=0.02)
    assert shares(3, 900.0) == [1, 0, 0, 0, 0]


def test_exposure_is_how_often_pairs_are_shown(made, monkeypatch):
    monkeypatch.setattr(made, "OLD", 1.1)  # all items are there from the start
    log = made.Log(40_000, 1_500, 30, seed=1)
    rows = joined(made, log)
    exposure = log.exposure(np.arange(30)[:, None], np.arange(1_500))
    exposure /= exposure.sum()
    shown = np.zeros_like(exposure)
    np.add.at(shown, (rows.users, rows.items), 1 / log.n_rows)
    liked = log.users.likes_category[:, log.items.categories]
    assert shown[liked].sum() == pytest.approx(exposure[liked].sum(), abs=0.02)
    assert shown[liked].sum() > 0.6
    np.testing.assert_allclose(shown.sum(1), exposure.sum(1), atol=0.01)
    often = exposure > 10 / log.n_rows
    assert np.corrcoef(shown[often], exposure[often])[0, 1] > 0.95


def test_best_are_the_likeliest_clicks_of_what_is_born(made, log):
    chances = log.probability(np.array(7), np.arange(log.n_items))
    best = log.best(7, 20)
    np.testing.assert_array_equal(chances[best], np.sort(chances)[::-1][:20])
    early = log.best(7, 20, at=0.4 * made.SPAN)
    born = log.items.births <= 0.4 * made.SPAN
    np.testing.assert_array_equal(chances[early], np.sort(chances[born])[::-1][:20])
    assert not np.array_equal(best, early)


def test_a_dot_product_falls_short_of_the_truth(made, log):
    bounds = made.dot_product_bounds(log, 40, 200, 600, steps=25)
    assert bounds["truth"] + 0.01 < bounds["fitted"] < bounds["svd"] - 0.05 < 0.95
    assert made.dot_product_bounds(log, 80, 200, 600, steps=0)["svd"] < bounds["svd"]
    whole = made.dot_product_bounds(log, 200, 200, 600, steps=0)  # full rank
    assert whole["svd"] == pytest.approx(whole["truth"])
    assert made.entropy(0.5) == pytest.approx(np.log(2))


def test_written_files_hold_what_was_drawn(made, log, rows, tmp_path):
    rates = log.write(tmp_path / "mine")
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == [
        "mine.inter",
        "mine.item",
        "mine.user",
    ]
    head, *lines = (tmp_path / "mine" / "mine.inter").read_text().splitlines()
    assert head.split("\t") == [
        "user_id:token", "item_id:token", "click:float", "conversion:float", "timestamp:float",
    ]  # fmt: skip
    table = np.array([line.split("\t") for line in lines], dtype=float)
    names = ("users", "items", "clicks", "conversions", "times")
    for column, name in zip(table.T, names, strict=True):
        np.testing.assert_array_equal(column, getattr(rows, name))

    loss = -np.where(rows.clicks, np.log(rows.chances), np.log(1 - rows.chances)).mean()
    assert rates["ne"] == pytest.approx(loss / made.entropy(rows.clicks.mean()))
    assert rates["click"] == pytest.approx(rows.clicks.mean())
    assert rates["conversion"] == pytest.approx(rows.conversions.mean())

    head, *lines = (tmp_path / "mine" / "mine.item").read_text().splitlines()
    assert head == "item_id:token\ttopic:token\tcategory:token\ttags:token_seq\tband:token\t" + (
        "format:token\tbirth:float"
    )
    number, topic, category, tags, band, kind, birth = lines[900].split("\t")
    items = log.items
    assert (int(number), int(band), int(kind)) == (900, items.bands[900], items.formats[900])
    assert int(topic) == log.topics[int(category)] and int(category) == items.categories[900]
    assert [int(tag) for tag in tags.split()] == items.tags[900].tolist()
    assert float(birth) == items.births[900]

    head, *lines = (tmp_path / "mine" / "mine.user").read_text().splitlines()
    values = dict(zip(head.split("\t"), lines[11].split("\t"), strict=True))
    users = log.users
    assert values["user_id:token"] == "11" and len(lines) == log.n_users
    assert int(values["preferred_band:token"]) == users.bands[11]
    assert int(values["preferred_format:token"]) == users.formats[11]
    liked = [int(value) for value in values["liked_categories:token_seq"].split()]
    assert liked == users.categories[11].tolist()
    liked = [int(value) for value in values["liked_tags:token_seq"].split()]
    assert liked == np.flatnonzero(users.likes_tag[11]).tolist()


def test_recbole_reads_the_files_by_the_features_file(made, log, rows, tmp_path):
    log.write(tmp_path / "mine")
    dataset = load_features("impressions", "mine", data_path=str(tmp_path))
    columns = read_features("impressions")["load_col"]
    assert columns_of(dataset) == {file: set(names) for file, names in columns.items()}
    table = dataset.inter_feat
    np.testing.assert_array_equal(table["click"], rows.clicks)
    np.testing.assert_array_equal(table["conversion"], rows.conversions)
    np.testing.assert_array_equal(table["timestamp"], rows.times)
    users = dataset.id2token("user_id", table["user_id"].to_numpy())
    np.testing.assert_array_equal(users.astype(int), rows.users)
    assert dataset.item_num == 1 + log.n_items  # those never shown too
    assert dataset.num("liked_categories") <= 1 + made.CATEGORIES
    assert dataset.num("band") == 1 + made.BANDS == dataset.num("preferred_band")


def test_the_script_prints_what_can_be_reached(made, tmp_path, monkeypatch, capsys):
    options = ["--rows=3000", "--items=300", "--users=50", f"--output={tmp_path / 'small'}"]
    monkeypatch.setattr(sys, "argv", ["synthetic_impressions.py", *options, "--rank=10"])
    made.main()
    out = capsys.readouterr().out
    assert "3,000 impressions of 300 items to 50 users, seed 0" in out
    assert "rank 10, least squares" in out and "NE of the true click probability" in out
    assert (tmp_path / "small" / "small.inter").is_file()


def test_sizes_are_checked(made):
    with pytest.raises(ValueError, match="n_items must be at least 1, got 0"):
        made.Log(n_items=0)
