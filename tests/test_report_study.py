"""A study's table: means, ranks, marks and notes by hand, and what is refused."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from studies import DEFINITION, SERVING, SWEEP, cell, failed, made, write_per_user, write_study

from recbole_hill.report import cells as module
from recbole_hill.report.cells import read_study
from recbole_hill.report.document import Line, Number, Table, ranked
from recbole_hill.report.lines import training_seconds
from recbole_hill.report.study import study_table


@pytest.fixture(autouse=True)
def definitions(monkeypatch):
    found = {"test": DEFINITION, "sweep": SWEEP, "serving": SERVING}
    monkeypatch.setattr(module, "definition_of", found.__getitem__)


@pytest.fixture
def tests(monkeypatch) -> dict:
    """Puts p values by label in place of the real tests, and keeps what these were called with."""
    kept = {"calls": [], "p": {}}

    def against(reference, values):
        kept["calls"].append((reference, values))
        users = SimpleNamespace(n=len(next(iter(values[reference].values()))))
        return {
            label: SimpleNamespace(
                users=users, seeds=None, adjusted_t_p=kept["p"][label], adjusted_wilcoxon_p=0.5
            )
            for label in values
            if label != reference
        }

    fake = ModuleType("recbole_hill.report.significance")
    fake.against = against
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return kept


BOTH = [made("BPR", 0.1, 1), made("BPR", 0.3, 2)]
CELLS = [
    cell("NESCL", [made("NESCL", 0.25, 1)]),
    cell("NESCL", [made("NESCL", 0.25, 2)]),
    *(cell("BPR", [row]) for row in BOTH),
]


def table_of(tmp_path, cells, reference=None, **about):
    return study_table(read_study(write_study(tmp_path, cells, **about)), reference)


def by_label(table) -> dict[str, Line]:
    return {line.label: line for line in table.lines}


def test_means_spread_and_differences_in_the_papers_order(tmp_path):
    table = table_of(tmp_path, CELLS)
    assert [line.name for line in table.lines] == ["BPR", "NESCL"]
    recall, ndcg = table.lines[0].numbers
    assert recall.mean == pytest.approx(0.2) and recall.deviation == pytest.approx(0.02**0.5)
    assert recall.text == "0.2000 ± 0.1414" and recall.difference == pytest.approx(1.0)
    assert ndcg.values == (0.05, 0.15) and ndcg.difference == pytest.approx(1.0)
    assert table.lines[0].extra_cells == ("10", "7", "abc") and table.lines[0].note == 1
    assert "[1] An old number." in table.notes


def test_best_and_second_of_each_column_as_shown():
    def line(name, *numbers):
        return Line(name, tuple(Number((n,)) if isinstance(n, float) else n for n in numbers))

    lines = (
        line("a", 0.30001, 0.7),
        line("b", 0.30002, 0.5),
        line("c", 0.2, 0.6),
        line("d", "failed", 0.9),
    )
    table = ranked(Table("", "model", ("recall@20", "ne"), lines))
    ranks = [[getattr(n, "rank", None) for n in line.numbers] for line in table.lines]
    # a and b are equal in four decimals; of NE the least is best.
    assert ranks == [[1, None], [1, 1], [2, 2], [None, None]]


def test_serving_is_relative_to_the_first_row_of_the_same_seed(tmp_path):
    def one(name, seed, ne, flops=100.0):
        cost = {"index_recall@20": 1.0, "flops": flops, "latency_ms": 2.0, "latency_p99_ms": 3.5}
        metrics = {"ne": ne, "recall@20": 0.1}
        cost |= {"weights_mib": 1.0, "tables_mib": 0.25}
        return cell(name, [made(name, 0.1, seed, serving=cost) | {"metrics": metrics}])

    cells = [one("TTSN", 1, 0.8), one("TTSN", 2, 0.9)]
    cells += [one("MoNN S", 1, 0.76, 500.0), one("MoNN S", 2, 0.873, 700.0)]  # -5 % and -3 %
    cells.append(one("MoNN L", 2, 0.882))
    table = table_of(tmp_path, cells, table="serving")
    assert table.extra_columns[:2] == ("ne against TTSN", "paper")
    columns = table.extra_columns
    shown = {line.name: dict(zip(columns, line.extra_cells, strict=True)) for line in table.lines}
    assert [shown[name]["ne against TTSN"] for name in SERVING["rows"]] == [
        "–",
        "-4.00 ± 1.41 %",
        "-2.00 %",
    ]
    assert shown["MoNN S"]["FLOPs a request"] == "600"
    assert shown["MoNN S"]["ms (p99)"] == "2.00 (3.50)"
    assert shown["MoNN S"]["weights, tables, MiB"] == "1.00, 0.25"


def test_serving_is_tested_against_the_first_row_though_another_is_best(tmp_path, tests):
    cells = []
    for name, ne in {"MoNN S": 0.9, "MoNN L": 0.7}.items():
        found = made("HSNN", 0.1) | {"metrics": {"ne": ne, "recall@20": 0.1}}
        cells.append(cell(name, [found]))
        write_per_user(tmp_path, cells[-1], {"HSNN": [0.1, 0.2]})
    tests["p"] = {"MoNN L": 0.001}
    table = table_of(tmp_path, cells, table="serving")
    assert table.reference == "MoNN S"
    assert by_label(table)["MoNN L"].numbers[1].mark == "‡"


@pytest.mark.filterwarnings("ignore:.*not a whole record")
def test_a_cell_run_again_replaces_itself_and_an_unfinished_line_is_not_read(tmp_path):
    folder = write_study(tmp_path, [failed("BPR", 1, "no"), cell("BPR", BOTH[:1])], seeds=(1,))
    with open(folder / "cells.jsonl", "a") as file:
        file.write('{"cell": "x", "row": "CML", "se')
    table = study_table(read_study(folder))
    assert [line.name for line in table.lines] == ["BPR"]
    assert table.lines[0].numbers[0].values == (0.1,)
    assert not any("failed" in note for note in table.notes)


def test_failed_and_missing_cells(tmp_path):
    error = "\nRuntimeError: out of memory in the middle of the long night\nmore"
    cells = [*CELLS[:3], failed("BPR", 2, "ValueError: bad"), failed("CML", 1, error)]
    table = table_of(tmp_path, cells, rows=["BPR", "NESCL", "CML", "EASE"])
    shown = by_label(table)
    assert shown["BPR"].numbers[0].values == (0.1,)  # of the seed that was done
    assert shown["CML"].numbers == ("failed: RuntimeError: out of memory in the midd…", "–")
    assert shown["CML"].extra_cells == ("–", "–", "–") and not shown["CML"].made
    first_line = "RuntimeError: out of memory in the middle of the long night"
    assert f"CML, seed 1, failed: {first_line}" in table.notes
    assert "BPR, seed 2, failed: ValueError: bad" in table.notes
    # HILL is a row of the paper, but the study was not asked for it.
    assert table.notes[-2:] == ("Not run yet: EASE.", "Not run yet with seed 2: CML.")


def test_marks_after_the_tests_over_users(tmp_path, tests):
    cells = [*CELLS, cell("EASE", [made("EASE", 0.2, 1)]), cell("HILL", [made("HILL", 0.3, 1)])]
    folder = write_study(tmp_path, cells)
    for number, each in enumerate(cells[:5]):
        write_per_user(folder, each, {each["row"]: [0.1 * number, 0.4]})
    tests["p"] = {"BPR": 0.009, "EASE": 0.049}
    table = study_table(read_study(folder))
    shown = by_label(table)
    assert table.reference == "NESCL"
    assert [n.mark for n in shown["BPR"].numbers] == ["‡", "‡"]
    assert [n.mark for n in shown["EASE"].numbers] == ["†", "†"]
    assert shown["NESCL"].numbers[0].mark == "" == shown["HILL"].numbers[0].mark
    assert shown["BPR"].numbers[0].wilcoxon_p == 0.5
    (reference, values), (_, halves) = tests["calls"]
    assert reference == "NESCL" and set(values) == {"NESCL", "BPR", "EASE"}
    assert set(values["NESCL"]) == {1, 2} and set(values["EASE"]) == {1}
    assert values["BPR"][2].to_dict() == {"u0": pytest.approx(0.3), "u1": 0.4}
    assert halves["BPR"][2].to_dict() == {"u0": pytest.approx(0.15), "u1": 0.2}
    note = (
        "† p < 0.05, ‡ p < 0.01: differs from **NESCL** in a two-sided paired t test over 2 users"
    )
    assert any(each.startswith(note) for each in table.notes)
    assert any(each.endswith("common seed: HILL.") for each in table.notes)


def test_another_reference_and_the_p_value_at_a_mark(tmp_path, tests):
    folder = write_study(tmp_path, CELLS)
    for each in CELLS:
        write_per_user(folder, each, {each["row"]: [0.1, 0.4]})
    tests["p"] = {"NESCL": 0.05}
    table = study_table(read_study(folder), "BPR")
    assert table.reference == "BPR"
    assert by_label(table)["NESCL"].numbers[0].mark == ""  # not below .05
    with pytest.raises(ValueError, match=r"got 'Pop'; accepted are BPR, NESCL"):
        study_table(read_study(folder), "Pop")


def test_a_row_whose_seeds_are_not_all_kept_per_user_is_not_tested(tmp_path, tests):
    folder = write_study(tmp_path, CELLS)
    for each in CELLS[:3]:
        write_per_user(folder, each, {each["row"]: [0.1, 0.4]})
    table = study_table(read_study(folder))
    assert tests["calls"] == [] and not table.reference
    assert any(note.startswith("No significance marks") for note in table.notes)


def test_without_nescl_the_best_baseline_is_the_reference(tmp_path, tests):
    cells = [cell(m, [made(m, r)]) for m, r in (("BPR", 0.1), ("EASE", 0.2), ("HILL", 0.3))]
    folder = write_study(tmp_path, cells, seeds=(1,))
    for each in cells:
        write_per_user(folder, each, {each["row"]: [0.1, 0.4]})
    tests["p"] = {"BPR": 1.0, "HILL": 1.0}
    assert study_table(read_study(folder)).reference == "EASE"


def test_variants_show_every_arm_and_test_within_the_row(tmp_path, tests):
    cells = []
    for number, name in enumerate(SWEEP["rows"]):
        settings = {"seed": 1, "n": number}
        arms = {"backbone": 0.2, "continue": 0.25, "HILL": 0.3}
        rows = [made("HILL", r, arm=a, settings=settings) for a, r in arms.items()]
        cells.append(cell(name, rows))
    folder = write_study(tmp_path, cells, seeds=(1,), table="sweep")
    for each in cells:
        write_per_user(folder, each, {a: [0.1, 0.4] for a in ("backbone", "continue", "HILL")})
    names = list(SWEEP["rows"])
    tests["p"] = {name + arm: 0.02 for name in names for arm in ("", ": backbone")}
    table = study_table(read_study(folder))
    labels = [f"{name}{arm}" for name in names for arm in ("", ": backbone", ": continue")]
    assert [line.label for line in table.lines] == labels
    assert table.lines[0].published == (0.3, 0.2) and table.lines[1].published == ()
    assert [call[0] for call in tests["calls"]] == [f"{n}: continue" for n in names for _ in "rn"]
    assert all(set(call[1]) <= set(labels[:3]) for call in tests["calls"][:2])
    assert [line.numbers[0].mark for line in table.lines] == ["†", "†", ""] * 2
    assert table.names(table.lines[0]) == ["8, 2 | .8", "HILL"]


def test_arms_of_a_definition_are_shown_alone(tmp_path, monkeypatch):
    rows = [made("HILL", 0.3, arm=a) for a in ("backbone", "continue", "HILL")]
    cells = [cell("HILL", rows), cell("BPR", [made("BPR", 0.1)])]
    for number, (arms, shown) in enumerate(((["continue"], ["HILL: continue"]), ([], []))):
        monkeypatch.setitem(DEFINITION, "arms", arms)
        table = table_of(tmp_path / str(number), cells, seeds=(1,))
        assert [line.label for line in table.lines] == ["BPR", "HILL", *shown]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_sha256": "ff"}, "rows of different data_sha256 do not compare"),
        ({"metrics": {"recall@20": 0.1}}, "BPR: there is no metric 'ndcg@20'"),
    ],
)
def test_mixtures_are_refused(tmp_path, change, message):
    cells = [cell("CML", BOTH[:1]), cell("BPR", [{**BOTH[1], **change}])]
    with pytest.raises(ValueError, match=message):
        table_of(tmp_path, cells)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"protocol": "published"}, "protocol"),
        ({"versions": {"torch": "3"}}, "versions"),
        ({"commit": "xyz"}, "commit"),
        ({"settings": {"seed": 2, "lr": 1}}, "learning_rate, lr"),
    ],
)
def test_seeds_that_were_made_otherwise_are_left_out(tmp_path, change, what):
    """A study that goes on after an update is reported: the last making of each row."""
    cells = [cell("BPR", BOTH[:1]), cell("BPR", [{**BOTH[1], **change}])]
    table = table_of(tmp_path, cells)
    line = by_label(table)["BPR"]
    assert line.numbers[0].values == (BOTH[1]["metrics"]["recall@20"],)
    notes = "\n".join(table.notes)
    assert f"**Left out**: BPR, seed 1, made with another {what} than the row's last" in notes
    assert "Not run yet with seed 1: BPR" not in notes


def test_reported_are_the_cells_that_the_last_command_was_about(tmp_path):
    """A first, then other settings, then the first command again: nothing ran, the first is it."""
    first, second = made("BPR", 0.2), made("BPR", 0.3, settings={"lr": 1})
    cells = [cell("BPR", [first], cell="a"), cell("BPR", [second], cell="b")]
    for named, value in ((None, 0.3), ("b", 0.3), ("a", 0.2)):
        called_for = {"BPR": {"1": named}} if named else None
        study = read_study(write_study(tmp_path / str(named), cells, called_for=called_for))
        line = by_label(study_table(study))["BPR"]
        assert line.numbers[0].values == (value,)


def test_a_seed_made_anew_is_the_rows_last(tmp_path):
    """Seeds 1 and 2, then seed 1 with other settings: seed 2 is what was made otherwise."""
    cells = [
        cell("BPR", BOTH[:1], cell="a"),
        cell("BPR", BOTH[1:], cell="b"),
        cell("BPR", [{**BOTH[0], "settings": {"seed": 1, "lr": 1}}], cell="c"),
    ]
    table = table_of(tmp_path, cells)
    assert by_label(table)["BPR"].numbers[0].values == (BOTH[0]["metrics"]["recall@20"],)
    assert "**Left out**: BPR, seed 2, made with another" in "\n".join(table.notes)


def test_what_the_command_gave_over_the_tables_own_is_named(tmp_path):
    given = {"monn_scale": 0.25, "degree": None}
    cells = [{**each, "given": given} for each in CELLS]
    what = "Not the table's own: `monn_scale=0.25`, `degree=~`, in"
    assert f"{what} every row." in table_of(tmp_path, cells).notes
    notes = table_of(tmp_path, [*cells, cell("EASE", [made("EASE", 0.2)])]).notes
    assert f"{what} NESCL; BPR." in notes
    assert not any("own:" in note for note in table_of(tmp_path, CELLS).notes)


def test_rows_that_differ_are_told_apart_in_the_notes(tmp_path):
    other = made("HILL", 0.3, commit="xyz", protocol="published", test_selected=True)
    other["versions"] = {"torch": "3"}
    cells = [*CELLS, cell("EASE", [made("EASE", 0.2)]), cell("HILL", [other])]
    notes = "\n".join(table_of(tmp_path, cells).notes)
    assert "protocol `holdout` and `published` (**test-selected**), seeds 1, 2" in notes
    assert "**Rows differ in protocol**: published (HILL); holdout (the others)" in notes
    assert "**Rows differ in commit**: xyz (HILL); abc (the others)" in notes
    assert "**Rows differ in torch**: 3 (HILL); 2 (the others)" in notes


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a study's folder: it has no study\.json"):
        read_study(tmp_path)
    with pytest.raises(ValueError, match="no finished cell yet"):
        table_of(tmp_path, [])
    (tmp_path / "cells.jsonl").write_text("{}x\n")
    with pytest.warns(UserWarning, match=r"cells\.jsonl, line 1: not a whole record"):
        read_study(tmp_path)
    with pytest.raises(ValueError, match="says dataset gowalla, the rows of its cells are of yelp"):
        table_of(tmp_path, [cell("BPR", [made("BPR", 0.1, dataset="yelp")])])


def test_training_seconds_are_those_on_the_way_to_the_arm():
    stages = {
        "backbone": {"seconds": 1, "trained_seconds": 100},
        "em_0": {"seconds": 10},
        "index": {"seconds": 12},  # 10 of them are those of em_0: a run from before own_seconds
        "adapt_continue": {"seconds": 1000},
        "adapt_pairs": {"seconds": 10_000},
    }
    seconds = {
        arm: training_seconds({"arm": arm, "stages": stages})
        for arm in ("backbone", "average", "continue", "HILL", "pairs")
    }
    assert seconds == {
        "backbone": 101,
        "average": 113,
        "continue": 1113,
        "HILL": 10_113,
        "pairs": 10_113,
    }
    stages["index"] = {"seconds": 2, "own_seconds": True}
    assert training_seconds({"arm": "HILL", "stages": stages}) == 10_113
