"""The floor of a run (Pop, ItemKNN), and what a run warns of at its end."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_settings
from recbole.model.general_recommender.itemknn import ComputeSimilarity

import recbole_hill.train.floor
from recbole_hill.cli import main
from recbole_hill.config.config import HillConfig
from recbole_hill.data.splits import load_data
from recbole_hill.model.baselines.itemknn import nearest_items
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.pipeline import run
from recbole_hill.report.lines import floor_notes
from recbole_hill.report.tables import arms_table
from recbole_hill.run.jsonl import append_record, read_lines
from recbole_hill.run.ledger import ledger_of
from recbole_hill.run.rows import row_fault
from recbole_hill.train.floor import floor
from recbole_hill.train.warnings import run_warnings


def test_nearest_items_by_hand():
    # Users 0 and 1 have items 0 and 1, user 2 has 1 and 2: cosines 2/sqrt(6), 1/sqrt(3), and none.
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=np.float32))
    near = nearest_items(matrix, 2).toarray()
    expected = [[0, 2 / 6**0.5, 0], [2 / 6**0.5, 0, 3**-0.5], [0, 3**-0.5, 0]]
    np.testing.assert_allclose(near, expected, rtol=1e-5)
    near = nearest_items(matrix, 1, shrink=1.0).toarray()
    np.testing.assert_allclose(near[:, 1], [2 / (6**0.5 + 1), 0, 0], rtol=1e-5)


def test_of_equal_cosines_the_lower_id_is_nearer():
    matrix = sp.csr_matrix(np.ones((3, 5), dtype=np.float32))
    assert np.flatnonzero(nearest_items(matrix, 2).toarray()[:, 1]).tolist() == [0, 2]


def test_nearest_items_are_recboles_up_to_ties():
    rng = np.random.default_rng(0)
    matrix = sp.csr_matrix((rng.random((200, 90)) < 0.1).astype(np.float32))
    ours = nearest_items(matrix, 10, shrink=2.0).toarray()
    theirs = ComputeSimilarity(matrix, topk=10, shrink=2.0).compute_similarity("item")[1].toarray()
    np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(theirs, axis=0), atol=1e-6)
    every = ComputeSimilarity(matrix, topk=90, shrink=2.0).compute_similarity("item")[1].toarray()
    np.testing.assert_allclose(ours[ours > 0], every[ours > 0], atol=1e-6)


def recall(scores: np.ndarray, data, k: int, hits_first: bool) -> float:
    """Mean recall@k of dense scores, slowly; of equal scores the test items are first, or last."""
    seen = [train_matrix(part._dataset).toarray() for part in (data.train, data.valid)]
    test = train_matrix(data.test._dataset).toarray()
    scores = np.where(sum(seen) > 0, -np.inf, scores)
    scores[:, 0] = -np.inf
    found = []
    for user in np.flatnonzero(test.sum(1)):
        order = np.lexsort((test[user] * (-1 if hits_first else 1), -scores[user].round(5)))
        best = order[:k]
        found.append(test[user, best].sum() / test[user].sum())
    return float(np.mean(found))


def test_floor_against_dense_scores(tiny_config):
    config = tiny_config("BPR")
    data = load_data(config)
    matrix = train_matrix(data.train._dataset)
    dense = matrix.toarray()
    lengths = np.sqrt((dense**2).sum(0))
    cosines = dense.T @ dense / np.maximum(np.outer(lengths, lengths), 1e-9)
    np.fill_diagonal(cosines, 0)  # 48 items: all are among the 100 nearest
    reached = floor(config, data)
    for name, scores in {
        "Pop": np.tile(dense.sum(0), (len(dense), 1)),
        "ItemKNN": dense @ cosines,
    }.items():
        for k in (5, 10):
            least, most = (recall(scores, data, k, hits_first) for hits_first in (False, True))
            assert least - 1e-5 <= reached[name][f"recall@{k}"] <= most + 1e-5


def test_a_run_ends_with_its_floor(tiny_path, in_tmp):
    (pop,) = run("Pop", "tiny", overrides=tiny_settings(tiny_path, "Pop")).rows
    result = run("ItemKNN", "tiny", overrides=tiny_settings(tiny_path, "ItemKNN"))
    row = result.rows[0]
    assert row["floor"] == {"Pop": pop["metrics"], "ItemKNN": row["metrics"]}  # ties, too
    assert row["warnings"] == []
    lines = arms_table(result.rows).splitlines()
    assert lines[2].split()[:2] == ["floor:", "Pop"]
    assert lines[2].split()[2] == f"{row['floor']['Pop']['recall@5']:.4f}"
    assert lines[3] == ""  # ItemKNN is the run itself


def test_a_kept_floor_counts_for_the_same_data_and_evaluation_alone(tiny_config, in_tmp):
    file = in_tmp / "floor.jsonl"
    config = tiny_config("BPR", floor_file=str(file))
    data = load_data(config)
    file.write_text("cut o")  # by a kill
    measured = floor(config, data)
    assert measured == floor(tiny_config("BPR"), data)
    (record,) = read_lines(file).kept
    assert record["floor"] == measured
    assert floor(config, data) == measured and len(read_lines(file).kept) == 1
    other = tiny_config("BPR", floor_file=str(file), topk=[10])
    assert floor(other, load_data(other))["Pop"] == {
        name: value for name, value in measured["Pop"].items() if name.endswith("@10")
    }
    other = tiny_config("BPR", floor_file=str(file), protocol="published")
    assert floor(other, load_data(other)) != measured
    assert len(read_lines(file).kept) == 3
    # The first record counts, whoever wrote it; what is no floor does not.
    file.unlink()
    append_record(file, {"of": record["of"], "floor": {"Pop": {"recall@5": "high"}}})
    append_record(file, {"of": record["of"], "floor": {"Pop": {"recall@5": 0.125}}})
    assert floor(config, data) == {"Pop": {"recall@5": 0.125}}


def test_one_cell_of_a_study_measures_the_floor_and_the_report_shows_it_once(
    tiny_path, in_tmp, monkeypatch
):
    measured = []

    def counted(*arguments):
        measured.append(measure(*arguments))
        return measured[-1]

    measure = recbole_hill.train.floor._measured
    monkeypatch.setattr("recbole_hill.train.floor._measured", counted)
    monkeypatch.setattr(
        "recbole_hill.experiments.study.run_cell._train",
        lambda command, *_: assert_ok(main(command[2:])),
    )
    options = [f"--data_path={tiny_path}", "--topk=[10,20]", "--valid_metric=NDCG@10"]
    called = ["table", "3", "--dataset=tiny", "--models=GF-CF,EASE", "--seeds=1,2", *options]
    assert main(called) == 0
    (reached,) = measured
    (folder,) = (in_tmp / "studies").iterdir()
    records = ledger_of(folder).records().values()
    assert [row["floor"] for record in records for row in record["rows"]] == [reached] * 4
    report = (folder / "report" / "table.md").read_text()
    pop = reached["Pop"]
    assert (
        report.count(
            f"Floor, with no training: Pop recall@20 {pop['recall@20']:.4f}, ndcg@20 "
            f"{pop['ndcg@20']:.4f}; ItemKNN recall@20"
        )
        == report.count("Floor")
        == 1
    )


def assert_ok(status: int) -> None:
    assert status == 0


def test_floor_notes_by_hand():
    low, high = {"recall@20": 0.01, "ndcg@20": 0.005}, {"recall@20": 0.02, "ndcg@20": 0.015}
    floor = {"floor": {"Pop": low, "ItemKNN": high}}
    rows = [{"model": "BPR", **floor}, {"model": "EASE"}, {"model": "CML", **floor}]
    note = "Floor, with no training: Pop recall@20 0.0100; ItemKNN recall@20 0.0200."
    assert floor_notes(rows, ["recall@20"]) == [note]
    assert floor_notes(rows, ["recall@20", "recall@50"]) == []


def test_a_method_of_the_floor_that_is_a_row_of_the_table_is_not_said_twice():
    reached = {"recall@20": 0.01}
    floor = {"floor": {"Pop": reached, "ItemKNN": reached}}
    rows = [{"model": "Pop", **floor}, {"model": "BPR", **floor}]
    note = "Floor, with no training: ItemKNN recall@20 0.0100."
    assert floor_notes(rows, ["recall@20"]) == [note]
    assert floor_notes([*rows, {"model": "ItemKNN", **floor}], ["recall@20"]) == []


def test_a_floor_that_is_none_is_a_fault_of_its_row():
    assert row_fault({"floor": {"Pop": 1}}, ()) == "floor Pop must be an object, got 1"
    found = row_fault({"floor": {"Pop": {"ndcg@10": float("nan")}}}, ())
    assert found == "floor Pop ndcg@10 must be a finite number, got nan"


def test_labelled_logs_have_no_floor():
    config = HillConfig("TTSN", "ml-100k", None, {"state": "ERROR"})
    assert floor(config, load_data(config)) == {}


def row(best: int, trained: int, *, eval_step=1, epochs=100, reached=0.3, **stages) -> dict:
    return {
        "model": "BPR",
        "arm": "BPR",
        "metrics": {"ndcg@20": reached},
        "settings": {
            "eval_step": eval_step,
            "epochs": epochs,
            "learning_rate": 0.01,
            "stopping_step": 10,
            "valid_metric": "NDCG@20",
        },
        "stages": {"backbone": {"epochs": best, "epochs_trained": trained}, **stages},
    }


EARLY, LATE = "validation was best after epoch", "training ended at epochs=100"


@pytest.mark.parametrize(
    ("best", "trained", "more", "expected"),
    [
        (1, 12, {}, EARLY),  # the first of 12, stopped by patience
        (2, 13, {}, EARLY),
        (3, 14, {}, None),  # the third of 14
        (3, 30, {}, EARLY),  # the third of 30 is in their first tenth
        (1, 3, {}, None),  # two worse ones are no fall yet
        (60, 71, {}, None),
        (100, 100, {}, LATE),
        (95, 100, {}, LATE),
        (90, 100, {}, None),
        (100, 100, {"eval_step": 20}, LATE),  # the last of 5
        (80, 100, {"eval_step": 20}, None),
        (100, 100, {"epochs": 200}, None),
        (1, 1, {"epochs": 1}, None),  # nothing is trained by epochs
        (50, 0, {}, None),  # taken over from another run
        (50, 50, {"holdout": {"epochs": 1, "epochs_trained": 12}}, EARLY),  # refit
    ],
)
def test_warnings_of_validations(best, trained, more, expected):
    found = run_warnings(row(best, trained, **more), {})
    assert [text[: len(expected)] for text in found] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("per_depth", "least", "said"),
    [
        ({1: 7, 2: 3}, 2, None),
        (
            {1: 7, 2: 0},
            1,
            "there are no <user, node> pairs at depth 2: try lower interest_thresholds than "
            "[0.8, 0.4]",
        ),
        (
            {"1": 0, "2": 0},  # as read from a file
            2,
            "there are no <user, node> pairs: HILL is its backbone LightGCN, not adapted; try "
            "lower interest_thresholds than [0.8, 0.4], or a smaller min_children than 2",
        ),
    ],
)
def test_warning_of_depths_without_pairs(per_depth, least, said):
    made = row(60, 71, pairs={"per_depth": per_depth})
    own = {"interest_thresholds": [0.8, 0.4], "min_children": least, "backbone": "LightGCN"}
    made["settings"] |= own
    assert run_warnings(made, {}) == ([said] if said else [])


def test_hill_without_pairs_is_its_backbone_and_says_so(tiny_path, in_tmp):
    settings = {"min_children": 40, "em_rounds": 0, "adapt_control": [], "beam_width": [12, 4]}
    settings |= {"epochs": 1, "learning_rate": 1e-4, "ttt_epochs": 8, "ttt_learning_rate": 0.01}
    result = run("HILL", "tiny", overrides=tiny_settings(tiny_path, "HILL", **settings))
    of = {row["arm"]: row["metrics"] for row in result.rows}
    assert result.stages["HILL"]["kept"] == "unadapted" and of["HILL"] == of["backbone"]
    # Validation alone would have kept what was trained on.
    trained = result.stages["adapt_pairs"]["valid_score"]
    assert trained > result.stages["HILL"]["valid_score_unadapted"]
    lines = arms_table(result.rows).splitlines()
    assert "<user, node> pairs: depth 1: 0, depth 2: 0" in lines
    (said,) = [line for line in lines if "is its backbone NESCL, not adapted" in line]
    assert said.startswith("warning: there are no <user, node> pairs")


def test_warning_of_the_floor(monkeypatch):
    reached = {"Pop": {"ndcg@20": 0.2}, "ItemKNN": {"ndcg@20": 0.31}}
    assert run_warnings(row(60, 71), reached) == [
        "BPR is below the floor: test ndcg@20 0.3000, ItemKNN 0.3100; try --tune=30m, or another "
        "model"
    ]
    monkeypatch.setattr("recbole_hill.train.warnings.find_spec", {"ray": None}.get)
    (without_ray,) = run_warnings(row(60, 71), reached)
    extra = "the extra `tune`: pip install -c constraints.txt -e '.[tune]'"
    assert f"try --tune=30m (with {extra}), or another model" in without_ray
    assert run_warnings(row(60, 71, reached=0.31), reached) == []
    assert run_warnings({**row(60, 71), "model": "Pop"}, reached) == []


def test_a_run_warns_in_its_row_its_log_and_its_table(tiny_path, in_tmp):
    settings = tiny_settings(tiny_path, "BPR", learning_rate=1e-6, state="WARNING")
    result = run("BPR", "tiny", overrides=settings)
    below = result.rows[0]["warnings"][-1]
    assert below.startswith("BPR is below the floor: test ndcg@10")
    assert f"warning: {below}" in (result.folder / "run.log").read_text()
    assert arms_table(result.rows).splitlines()[-1] == f"warning: {below}"
