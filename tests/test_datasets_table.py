"""Table 2: what is measured stands above what the paper prints."""

import pytest

from recbole_hill.experiments.study.command import run_table
from recbole_hill.experiments.study.datasets import datasets_table, measure


def test_ml_100k_as_its_authors_count_it(in_tmp):
    users, items, pairs, density = measure("ml-100k")
    assert (users, items, pairs) == (943, 1682, 100_000)
    assert density == pytest.approx(100_000 / (943 * 1682))


def test_measured_and_printed_side_by_side(in_tmp, capsys):
    assert run_table("2", datasets=["ml-100k", "yelp2018"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "| ml-100k | here | 943 | 1,682 | 100,000 | 6.305% |" in lines
    assert "| yelp2018 | here | – | – | – | – |" in lines
    assert "| | paper [2] | 31,688 | 38,048 | 1,561,406 | 0.130% |" in lines
    assert any(line.startswith("- [1]") and "prepare yelp2018" in line for line in lines)
    assert any(line.startswith("- [2] 31,688 users are a slip") for line in lines)


def test_the_papers_datasets_by_default(in_tmp):
    lines = [line.split(" | ") for line in datasets_table("2").splitlines()]
    names = [cells[0] for cells in lines if cells[1:2] == ["here"]]
    assert names == ["| gowalla", "| yelp2018", "| amazon-book"]
