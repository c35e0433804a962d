"""Paired tests against SciPy and by hand, and models compared over users and seeds."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_hill.report import significance
from recbole_hill.report.significance import PairedTest, against, holm, paired_test

RNG = np.random.default_rng(0)
#: Like Recall@20: few distinct values, most differences zero.
FIRST = RNG.integers(0, 3, 400) / 4
SECOND = np.where(RNG.random(400) < 0.7, FIRST, RNG.integers(0, 4, 400) / 4)


def series(values, users="abcdef") -> pd.Series:
    return pd.Series(values, index=list(users))


def test_p_values_are_scipys():
    test = paired_test(FIRST, SECOND, resamples=10)
    assert test.n == 400 and test.mean_difference == pytest.approx((FIRST - SECOND).mean())
    assert test.t_p == pytest.approx(stats.ttest_rel(FIRST, SECOND).pvalue, rel=1e-9)
    pratt = stats.wilcoxon(FIRST, SECOND, zero_method="pratt").pvalue
    assert test.wilcoxon_p == pytest.approx(pratt, rel=1e-9)
    assert 0 < test.t_p < 1 and test.wilcoxon_p != pytest.approx(test.t_p, rel=1e-3)


def test_p_values_by_hand():
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) on 2 degrees of freedom,
    # where P(|T| > t) = 1 - t / sqrt(2 + t^2). All signs alike: 2 of the 8 sign patterns.
    test = paired_test(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert test.t_p == pytest.approx(1 - np.sqrt(12 / 14))
    assert test.wilcoxon_p == pytest.approx(2 / 8)
    assert test.mean_difference == 2.0
    # 27 resamples of three: 1 and 3 thrice come with 1/27 each, more than .025.
    assert test.interval == (1.0, 3.0)


def test_the_direction_is_first_minus_second():
    forth, back = paired_test(FIRST, SECOND), paired_test(SECOND, FIRST)
    assert forth.mean_difference == -back.mean_difference < 0
    assert (forth.t_p, forth.wilcoxon_p) == pytest.approx((back.t_p, back.wilcoxon_p))
    assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]))


@pytest.mark.parametrize("n", [2, 3, 400])
def test_a_against_a(n):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = paired_test(FIRST[:n], FIRST[:n].copy())
        noisy = paired_test(FIRST[:n], FIRST[:n] + 1e-16 * RNG.standard_normal(n))
    assert test == noisy == PairedTest(n, 0.0, 1.0, 1.0, (0.0, 0.0))


def test_noise_of_averaging_breaks_no_ties():
    noise = 1e-16 * RNG.standard_normal(400)
    exact, noisy = paired_test(FIRST, SECOND), paired_test(FIRST + noise, SECOND)
    assert noisy == exact


def test_equal_differences():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = paired_test(np.full(8, 0.75), np.full(8, 0.5))
    assert test.t_p == 0.0 and test.interval == (0.25, 0.25)
    assert test.wilcoxon_p < 0.05  # eight signs alike; ties among all


def test_bootstrap_against_the_whole_matrix_of_resamples(monkeypatch):
    values = RNG.exponential(size=50)
    low, high = paired_test(values, np.zeros(50)).interval
    drawn = np.random.default_rng(7).integers(50, size=(100_000, 50))
    expected = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.02)
    assert paired_test(values, np.zeros(50)).interval == (low, high)
    assert paired_test(values, np.zeros(50), seed=1).interval != (low, high)
    # A series longer than what is drawn at a time goes resample by resample.
    monkeypatch.setattr(significance, "_DRAWS", 10)
    np.testing.assert_allclose(paired_test(values, np.zeros(50)).interval, expected, atol=0.02)


def test_bootstrap_covers_the_mean():
    """Of 300 samples of a normal with mean .3, about 95 % of the intervals hold .3."""
    rng = np.random.default_rng(3)
    tests = [paired_test(rng.normal(0.3, 1, 40), np.zeros(40), resamples=400) for _ in range(300)]
    covered = np.mean([test.interval[0] <= 0.3 <= test.interval[1] for test in tests])
    assert 0.90 <= covered <= 0.98
    widths = np.mean([test.interval[1] - test.interval[0] for test in tests])
    assert widths == pytest.approx(2 * 1.96 / np.sqrt(40), rel=0.1)


def test_resamples_are_held_some_at_a_time(monkeypatch):
    sizes, original = [], np.random.default_rng

    class Noting:
        def __init__(self, seed):
            self.rng = original(seed)

        def integers(self, n, size, dtype):
            sizes.append(size)
            return self.rng.integers(n, size=size, dtype=dtype)

    monkeypatch.setattr(significance.np.random, "default_rng", Noting)
    paired_test(RNG.random(30_000), RNG.random(30_000), resamples=101)
    assert sum(rows for rows, _ in sizes) == 101 and max(r * n for r, n in sizes) <= 1 << 16


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1.0], [2.0], "at least 2 pairs, got 1"),
        ([], [], "at least 2 pairs, got 0"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"one length, got shapes \(2,\) and \(3,\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], r"two series of one length, got shapes \(1, 2\)"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "must be finite, but 1 of 3 pairs are not"),
        ([1.0, 2.0], [np.inf, np.nan], "must be finite, but 2 of 2 pairs are not"),
    ],
)
def test_bad_pairs(first, second, message):
    with pytest.raises(ValueError, match=message):
        paired_test(np.array(first), np.array(second))
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        paired_test(FIRST, SECOND, resamples=0)


def test_holm_by_hand():
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1; none below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.9]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([0.2]) == [0.2] and holm([]) == []
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        holm([0.1, 1.5])
    with pytest.raises(ValueError, match="between 0 and 1, got nan"):
        holm([float("nan")])


def test_models_are_compared_over_users_and_over_seeds():
    users = list("abcdef")
    draws = {name: {s: series(RNG.random(6)) for s in (1, 2, 3)} for name in ("A", "B", "C")}
    draws["B"][2] = draws["B"][2].sample(frac=1, random_state=0)  # order of users is no matter
    draws["C"][9] = series(np.full(6, 99.0))  # A has no such seed
    found = against("A", draws)
    assert list(found) == ["B", "C"]
    for name, result in found.items():
        ours, theirs = (
            np.array([draws[model][s].loc[users] for s in (1, 2, 3)]) for model in (name, "A")
        )
        assert result.users == paired_test(ours.mean(axis=0), theirs.mean(axis=0), resamples=2_000)
        assert result.seeds == paired_test(ours.mean(axis=1), theirs.mean(axis=1), resamples=2_000)
        assert (result.users.n, result.seeds.n) == (6, 3)
    assert [r.adjusted_t_p for r in found.values()] == holm([r.users.t_p for r in found.values()])
    wilcoxon = [r.users.wilcoxon_p for r in found.values()]
    assert [r.adjusted_wilcoxon_p for r in found.values()] == holm(wilcoxon) != wilcoxon


def test_a_better_model_has_a_positive_difference_and_one_seed_no_test_over_seeds():
    base = RNG.random(6)
    worse, better = series(base), series(base + np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.2]))
    result = against("worse", {"better": {1: better}, "worse": {1: worse, 2: worse}})["better"]
    assert result.users.mean_difference == pytest.approx(1 / 6) and result.seeds is None
    assert result.users.interval[0] > 0
    assert result.adjusted_t_p == result.users.t_p < 0.05


def test_a_model_against_itself():
    values = {s: series(RNG.random(6)) for s in (1, 2)}
    result = against("A", {"A": values, "B": values, "C": {s: v[::-1] for s, v in values.items()}})
    for name in "BC":
        assert result[name].users == PairedTest(6, 0.0, 1.0, 1.0, (0.0, 0.0))
        assert result[name].seeds == PairedTest(2, 0.0, 1.0, 1.0, (0.0, 0.0))
        assert result[name].adjusted_t_p == result[name].adjusted_wilcoxon_p == 1.0


GOOD = series(range(6))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"B": {1: GOOD}}, "reference must be one of B, got 'A'"),
        ({"A": {1: GOOD}, "B": {2: GOOD}}, r"B \(seeds \[2\]\) and A \(seeds \[1\]\) have no seed"),
        ({"A": {1: GOOD}, "B": {1: GOOD, 2: GOOD[:-1]}}, "B, seed 2: its users .* such as 'f'"),
        ({"A": {1: GOOD, 2: series(range(6), "abcdeg")}}, "A, seed 2: its users .* 2 are in one"),
        ({"A": {1: series(range(6), "abcdea")}}, "A: user 'a' stands twice"),
        (
            {"A": {1: GOOD}, "B": {4: series(range(6), "abbdef")}},
            "B, seed 4: user 'b' stands twice",
        ),
        (
            {"A": {1: GOOD}, "B": {1: GOOD.where(GOOD != 3)}},
            "B, seed 1: the value of user 'd' is nan",
        ),
    ],
)
def test_bad_comparisons(values, message):
    with pytest.raises(ValueError, match=message):
        against("A", values)
