"""The seconds of a run: each counted once, in rows of older runs too."""

import pytest

from recbole_hill.run.stages import own_seconds, seconds_of_stages

BACKBONE = {"seconds": 100.0, "trained_seconds": 1000.0}


@pytest.mark.parametrize(
    "index",
    [
        {"seconds": 7.0},  # 2 of clustering, and the 4 + 1 of the M-steps
        {"seconds": 2.0, "own_seconds": True},
    ],
)
def test_the_m_steps_count_once(index):
    m_steps = {"em_0": {"seconds": 4.0}, "em_1": {"seconds": 1.0}}
    stages = {"backbone": BACKBONE, **m_steps, "index": index, "HILL": {"kept": "adapted"}}
    assert own_seconds(stages) == {"backbone": 100, "em_0": 4, "em_1": 1, "index": 2, "HILL": 0}
    assert seconds_of_stages(stages) == 107
    assert seconds_of_stages(stages, with_starts=True) == 1107
    del stages["index"]  # a run that was stopped before its index was learnt
    assert seconds_of_stages(stages) == 105


@pytest.mark.parametrize(
    "index", [{"seconds": 31.0}, {"seconds": 1.0, "own_seconds": True}, {"seconds": 1.0}]
)
def test_learning_the_index_apart_counts_once(index):
    """Also in a run that was resumed between the two stages: the last case."""
    stages = {"backbone": BACKBONE, "index_learning": {"seconds": 30.0}, "index": index}
    assert seconds_of_stages(stages) == 131


def test_stages_without_an_index_are_summed():
    assert seconds_of_stages({"holdout": {"seconds": 1.5}, "backbone": {"seconds": 2.0}}) == 3.5
    assert seconds_of_stages({}) == 0
