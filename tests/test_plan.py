"""What a study runs: the tables' files, the cells' names, the backbone that rows share."""

import pytest

from recbole_hill.config.properties import read_properties
from recbole_hill.experiments.study.paper_table import PaperTable, Row, numbers
from recbole_hill.experiments.study.plan import BACKBONE, Cell, plan


def cells(number: str, **options) -> tuple[Cell, ...]:
    return plan(PaperTable.read(number), "ml-100k", **options).cells


@pytest.mark.parametrize("number", numbers())
@pytest.mark.parametrize("dataset", ["ml-100k", "gowalla"])
def test_every_table_can_be_run(number, dataset):
    """Each row's settings are keys of its model; only HSNN's tables need labels."""
    table = PaperTable.read(number)
    if table.kind == "serving" and dataset == "gowalla":
        pytest.skip("gowalla has no labels")
    study = plan(table, dataset, protocol="published")
    assert {cell.row for cell in study.cells} - {BACKBONE} == {row.name for row in table.rows}
    assert table.title


def test_the_tables_that_the_paper_has():
    assert {"1", "2", "3", "4", "5", "6", "7"} <= set(numbers())
    rows = read_properties("table", "7.yaml")["rows"]
    assert [row["settings"]["interest_thresholds"][1] for row in rows.values()] == [
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7,
    ]  # fmt: skip
    assert rows[".8/.7"]["gowalla"] == [0.1925, 0.1623]


def test_a_cell_is_named_by_all_that_decides_its_run():
    cell = Cell("BPR", "BPR", "ml-100k", "holdout", 1, {"epochs": 2, "n_negatives": 1})
    same = Cell("another name", "BPR", "ml-100k", "holdout", 1, {"n_negatives": 1, "epochs": 2})
    assert cell.id == same.id and len(cell.id) == 12
    for changed in (
        Cell("BPR", "CML", "ml-100k", "holdout", 1, cell.settings),
        Cell("BPR", "BPR", "gowalla", "holdout", 1, cell.settings),
        Cell("BPR", "BPR", "ml-100k", "refit", 1, cell.settings),
        Cell("BPR", "BPR", "ml-100k", "holdout", 2, cell.settings),
        Cell("BPR", "BPR", "ml-100k", "holdout", 1, {**cell.settings, "epochs": 3}),
        Cell("BPR", "BPR", "ml-100k", "holdout", 1, cell.settings, {"backbone_from": "abc"}),
    ):
        assert changed.id != cell.id


def test_rows_of_a_sweep_share_one_trained_backbone():
    found = cells("6", seeds=(5, 6))
    assert [cell.row for cell in found].count(BACKBONE) == 1
    assert found[0].row == BACKBONE and found[0].model == "NESCL" and found[0].seed == 5
    assert len(found) == 1 + 2 * 5
    assert all(cell.starts_from == {"backbone_from": found[0].id} for cell in found[1:])


def test_where_each_seed_has_its_own_backbone():
    found = cells("5", seeds=(5, 6))
    backbones = {cell.id: cell.seed for cell in found if cell.row == BACKBONE}
    assert sorted(backbones.values()) == [5, 6]
    for cell in found:
        if cell.row == "joint":
            assert not cell.starts_from  # it learns both together
        elif cell.row != BACKBONE:
            assert backbones[cell.starts_from["backbone_from"]] == cell.seed


def test_a_finished_run_in_the_backbones_place():
    found = cells("6", backbone_from="saved/NESCL-run")
    assert len(found) == 5
    assert all(cell.starts_from == {"backbone_from": "saved/NESCL-run"} for cell in found)
    with pytest.raises(ValueError, match="--backbone-from: the rows of table 3 share no backbone"):
        cells("3", backbone_from="saved/NESCL-run")


def test_rows_that_start_from_other_rows():
    found = cells("beyond", seeds=(5, 6), rows=["HILL on Fusion"])
    assert [(cell.row, cell.seed) for cell in found] == [
        (row, seed)
        for seed in (5, 6)
        for row in ("LightGCN-BSL", "SpectralMF", "Fusion", "HILL on Fusion")
    ]
    for first in (0, 4):
        graph, spectral, fusion, hill = found[first : first + 4]
        assert fusion.starts_from == {"fuse_from": [graph.id, spectral.id]}
        assert hill.starts_from == {"backbone_from": fusion.id, **fusion.starts_from}
        assert hill.starts == {graph.id, spectral.id, fusion.id} and not graph.starts


@pytest.mark.parametrize(
    ("starts_from", "message"),
    [
        ({"fuse_from": ["BPR", "Pop"]}, r"row 'Fusion': starts_from must name rows above it, BPR;"),
        (
            {"from": "BPR"},
            r"starts_from is for backbone_from, fuse_from, pretrained_from, distill_from; got from",
        ),
    ],
)
def test_a_row_starts_from_rows_above_it(monkeypatch, starts_from, message):
    rows = {"BPR": None, "Fusion": {"starts_from": starts_from}, "Pop": {}}
    table = {"title": "Of three", "kind": "comparison", "metrics": ["recall@20"], "rows": rows}
    monkeypatch.setattr(
        "recbole_hill.experiments.study.paper_table.read_properties", lambda *_: table
    )
    with pytest.raises(ValueError, match=message):
        PaperTable.read("three")


def test_precedence_of_settings():
    row = Row(
        "x",
        "HILL",
        (
            {None: {"a": 1, "b": 1, "c": 1}, "d1": {"b": 2, "c": 2}},
            {None: {"c": 3}, "d2": {"a": 4}},
        ),
    )
    assert row.settings_on("d1") == {"a": 1, "b": 2, "c": 3}
    assert row.settings_on("d2") == {"a": 4, "b": 1, "c": 3}
    (cell,) = cells("3", rows=["bpr"], settings={"epochs": 3})
    assert cell.model == "BPR" and cell.settings == {"epochs": 3}
    assert cell.given == {"epochs": 3}
    (as_in_the_table,) = cells("3", rows=["bpr"])
    assert as_in_the_table.given == {}


def test_any_model_may_join_a_comparison():
    found = cells("3", rows=["Pop", "SUPCCL", "DMF", "Pop"])
    assert [cell.model for cell in found] == ["Pop", "NESCL", "DMF"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": ["BRP"]}, "unknown model 'BRP'; did you mean EBR or BPR"),
        ({"protocol": "test"}, "protocol must be one of holdout, refit, published, got 'test'"),
        ({"seeds": ()}, "seeds must be whole numbers"),
        ({"settings": {"epoch": 3}, "rows": ["BPR"]}, "row 'BPR': unknown key 'epoch'"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_runs(options, message):
    with pytest.raises(ValueError, match=message):
        cells("3", **options)


def test_rows_of_a_sweep_are_named_as_in_the_file():
    with pytest.raises(ValueError, match=r"--models must be among the rows of table 7: \.8/\.1,"):
        cells("7", rows=["HILL"])
    with pytest.raises(ValueError, match=r"table must be one of 1, 2, 3, .*, got '33'"):
        PaperTable.read("33")


@pytest.mark.parametrize("number", numbers())
def test_rows_can_be_asked_for_on_a_command_line(number):
    """--models is split at commas."""
    assert not any("," in row.name for row in PaperTable.read(number).rows)
