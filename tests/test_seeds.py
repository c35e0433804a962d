"""The table over seeds: means by hand, and nothing averaged that must not be."""

import copy
import json

import pytest

from recbole_hill.cli import main
from recbole_hill.report.seeds import read_rows, seeds_table


def row(arm: str, seed: int, recall: float, **changes) -> dict:
    made = {
        "model": "HILL",
        "dataset": "tiny",
        "data_sha256": "0123456789abcdef",
        "protocol": "holdout",
        "test_selected": False,
        "split_seed": 1,
        "commit": "abc",
        "versions": {"torch": "2"},
        "device": "cpu, 1 threads",
        "seed": seed,
        "peak_memory_mib": 1000,
        "arm": arm,
        "metrics": {"recall@20": recall},
        "stages": {"backbone": {"seconds": 1.0}},
        "settings": {"seed": seed, "learning_rate": 0.1},
    }
    made.update(changes)
    return made


ROWS = [row("a", 1, 0.1), row("b", 1, 0.5), row("a", 2, 0.3), row("b", 2, 0.5)]


def test_mean_and_sample_deviation():
    table = seeds_table(ROWS)
    assert "| a | 0.2000 ± 0.1414 |" in table  # sqrt(2 * .1 ** 2 / 1)
    assert "| b | 0.5000 ± 0.0000 |" in table
    assert "protocol `holdout`, seeds 1, 2, split seed 1, commit abc" in table
    assert "test-selected" not in table


def test_one_seed_has_no_spread():
    assert "| a | 0.1000 |" in seeds_table(ROWS[:1])


def test_test_selected_rows_say_so():
    assert "**test-selected**" in seeds_table([row("a", 1, 0.1, test_selected=True)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "published"}, "different protocol"),
        ({"data_sha256": "f"}, "different data_sha256"),
        ({"commit": "xyz"}, "different commit"),
        ({"versions": {"torch": "3"}}, "different versions"),
        ({"settings": {"seed": 2, "learning_rate": 0.2}}, "different learning_rate"),
        ({"seed": 1}, "seed 1 occurs twice"),
        ({"seed": 3}, "not run with the same seeds"),
    ],
)
def test_unlike_rows_are_never_averaged(change, message):
    rows = copy.deepcopy(ROWS)
    rows[-1].update(change)
    with pytest.raises(ValueError, match=message):
        seeds_table(rows)


def test_command(tmp_path, capsys):
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        lines = [json.dumps(r) for r in ROWS if r["seed"] == seed]
        (tmp_path / str(seed) / "rows.jsonl").write_text("\n".join(lines) + "\n")
    assert main(["report", str(tmp_path / "1"), str(tmp_path / "2")]) == 0
    assert "0.2000 ± 0.1414" in capsys.readouterr().out
    assert main(["report", str(tmp_path)]) == 1
    assert "not a finished run's folder" in capsys.readouterr().err


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"a":\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2"):
        read_rows([tmp_path])
