"""The table of many models beside the paper's numbers: values by hand, and what is refused."""

import json

import pytest
from test_seeds import row

from recbole_hill.cli import main
from recbole_hill.report.comparison import comparison_table


def made(model: str, recall: float, seed: int = 1, **changes) -> dict:
    metrics = {"recall@20": recall, "ndcg@20": recall / 2}
    backbone = {"backbone": {"seconds": 1234.0, "epochs": 7}}
    changes = {
        "model": model,
        "metrics": metrics,
        "stages": backbone,
        "dataset": "gowalla",
    } | changes
    return row(model, seed, recall, **changes)


def lines(rows) -> list[str]:
    return comparison_table(rows, "3").splitlines()


def test_difference_to_the_published_number_by_hand():
    found = lines([made("BPR", 0.1627 * 0.9), made("CML", 0.17)])
    assert found[2].startswith("| CML [1] | 0.1700 | 0.0850 | .1670/.1292 | +1.8% / -34.2% |")
    assert found[3] == "| BPR | 0.1464 | 0.0732 | .1627/.1378 | -10.0% / -46.9% | 1,234 | 7 | abc |"
    assert any(line.startswith("- [1] The published row is from D = 100") for line in found)
    assert "HILL" in found[-1] and "BPR" not in found[-1]  # what is still missing


def test_seeds_are_averaged_and_models_are_not():
    found = lines([made("BPR", 0.1, 1), made("BPR", 0.3, 2), made("GF-CF", 0.15)])
    assert "0.2000 ± 0.1414" in found[2] and found[3].startswith("| GF-CF | 0.1500 |")


def test_epochs_of_seeds_rise():
    stages = [{"backbone": {"seconds": 1.0, "epochs": n}} for n in (105, 31, 31)]
    rows = [made("BPR", 0.1, seed, stages=x) for seed, x in enumerate(stages)]
    assert lines(rows)[2].endswith("| 1 | 31, 105 | abc |")


def test_a_dataset_without_published_numbers_has_no_such_columns():
    found = lines([made("BPR", 0.1, dataset="ml-100k"), made("Pop", 0.05, dataset="ml-100k")])
    assert found[0] == "| model | recall@20 | ndcg@20 | training, s | epochs | commit |"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"protocol": "published"},
            "rows of different protocol do not compare: holdout, published",
        ),
        ({"data_sha256": "ff"}, "rows of different data_sha256"),
        ({"dataset": "yelp2018"}, "rows of different dataset"),
    ],
)
def test_unlike_rows_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        comparison_table([made("BPR", 0.1), made("CML", 0.1, **changes)], "3")


def test_the_same_cell_twice_is_refused():
    with pytest.raises(ValueError, match="'BPR' with seed 1 occurs twice"):
        comparison_table([made("BPR", 0.1), made("BPR", 0.2)], "3")


def test_command_reads_files_of_rows(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(made(m, 0.1)) + "\n" for m in ("BPR", "CML")))
    assert main(["report", "--table=3", str(file)]) == 0
    assert "| BPR |" in capsys.readouterr().out
    assert main(["report", "--table=99", str(file)]) == 1
    assert "table must be the number of a file in properties/table" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err
