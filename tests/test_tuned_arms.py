"""The program that compares arms of test-time training, each at the settings of its choice."""

from pathlib import Path

import pytest
from conftest import tiny_settings
from studies import cell, made, write_per_user, write_study

from recbole_hill.pipeline import run


@pytest.fixture(scope="module")
def program(import_benchmark):
    return import_benchmark("tuned_arms")


@pytest.fixture(scope="module")
def popularity_term(import_benchmark):
    return import_benchmark("popularity_term")


def arm(name: str, seed: int, valid: float, recall: float) -> dict:
    found = made("HILL", recall, seed, name, list_popularity=4 + recall)
    stages = {**found["stages"], f"adapt_{name}": {"valid_score": valid}}
    return {**found, "stages": stages}


def study(folder: Path, rate: float, arms: dict[str, list[tuple]], users=None) -> Path:
    """Writes a study of one form with seeds 1, 2, ...: per arm and seed validation and recall."""
    cells = []
    for seed in range(1, 1 + len(next(iter(arms.values())))):
        rows = [arm(name, seed, *values[seed - 1]) for name, values in arms.items()]
        cells.append(cell("pairs as rows", rows, given={"ttt_learning_rate": rate}))
    write_study(folder, cells, seeds=range(1, 1 + len(cells)), table="forms")
    for of_seed in cells if users else ():
        recall = {row["arm"]: row["metrics"]["recall@20"] for row in of_seed["rows"]}
        write_per_user(folder, of_seed, {n: [recall[n] + x for x in users[n]] for n in recall})
    return folder


def test_each_arm_is_shown_at_the_settings_that_validation_prefers(program, tmp_path):
    # continue prefers the first study, pairs the second.
    one = {"continue": [(0.30, 0.40), (0.32, 0.42)], "pairs": [(0.20, 0.90), (0.20, 0.90)]}
    two = {"continue": [(0.10, 0.90), (0.10, 0.90)], "pairs": [(0.25, 0.41), (0.25, 0.45)]}
    users = {"continue": [0.0, 0.0, 0.0], "pairs": [0.03, 0.0, -0.03]}
    folders = [study(tmp_path / "a", 0.5, one, users), study(tmp_path / "b", 0.1, two, users)]
    lines = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in program.report(folders).splitlines()[2:]
    ]
    assert [line[:4] for line in lines] == [
        ["pairs as rows", "continue", "ttt_learning_rate 0.5", "0.3100"],
        ["pairs as rows", "pairs", "ttt_learning_rate 0.1", "0.2500"],
    ]
    # pairs - continue: .01 and .03, so .02 with a standard error of .01 over the seeds; of the
    # users .05, .02, -.01, so .03 / sqrt(3).
    assert lines[1][7] == "+0.0200 (0.0100; 0.0173)"
    assert lines[1][6] == "4.430" and lines[0][7] == ""


def test_without_values_per_user_the_users_error_is_left_open(program, tmp_path):
    arms = {"continue": [(0.3, 0.4)], "pairs": [(0.3, 0.5)]}
    assert "+0.1000 (–; –)" in program.report([study(tmp_path / "a", 0.5, arms)])


@pytest.fixture(scope="module")
def finished(tiny_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("term") / "run"
    changes = {"backbone": "MF-SSM", "adapt_control": ["continue"], "pair_form": "rows"}
    settings = tiny_settings(tiny_path, "HILL", run_dir=str(folder), **changes)
    del settings["ssl_warmup_epochs"]  # NESCL's
    return run("HILL", "tiny", overrides=settings, echo=False)


def test_without_a_weight_an_arm_has_the_values_of_its_row(finished, popularity_term, monkeypatch):
    monkeypatch.setattr(popularity_term, "WEIGHTS", (0.0,))
    found = popularity_term.corrected_arms(finished.folder, {"continue", "pairs"})
    rows = {row["arm"]: row for row in finished.rows}
    assert set(found) == {"continue", "pairs"}
    for name, corrected in found.items():
        assert corrected.metrics == pytest.approx(rows[name]["metrics"])
        stage = finished.stages[f"adapt_{name}"]
        assert corrected.valid_score == pytest.approx(stage["valid_score"])
        assert corrected.popularity == pytest.approx(rows[name]["list_popularity"], abs=1e-4)
        metric = next(iter(corrected.metrics))
        mean = corrected.users[metric].mean()
        assert mean == pytest.approx(corrected.metrics[metric], abs=1e-4)


def test_with_a_large_weight_every_list_is_the_most_popular_items(
    finished, tiny_path, tmp_path, popularity_term, monkeypatch
):
    monkeypatch.setattr(popularity_term, "WEIGHTS", (1000.0,))
    found = popularity_term.corrected_arms(finished.folder, {"pairs"})["pairs"]
    settings = tiny_settings(tiny_path, "Pop", run_dir=str(tmp_path / "pop"))
    popular = run("Pop", "tiny", overrides=settings, echo=False).rows[0]
    assert found.popularity == pytest.approx(popular["list_popularity"], abs=1e-3)


def test_validation_chooses_the_weight(finished, popularity_term, monkeypatch):
    scores = {}
    for weight in (-1.0, 0.0, 1.0):
        monkeypatch.setattr(popularity_term, "WEIGHTS", (weight,))
        found = popularity_term.corrected_arms(finished.folder, {"pairs"})["pairs"]
        scores[weight] = found.valid_score
    monkeypatch.setattr(popularity_term, "WEIGHTS", tuple(scores))
    found = popularity_term.corrected_arms(finished.folder, {"pairs"})["pairs"]
    assert (found.weight, found.valid_score) == max(scores.items(), key=lambda pair: pair[1])
