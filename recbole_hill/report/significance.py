"""Whether a model's metric differs from another's by more than chance: over users, and over seeds.

All tests are paired and two-sided. Over users the question is whether the difference would be there
for other users of the same kind, the models' weights as they are; over seeds, whether it would be
there if the models were trained again. With few seeds little can be significant: Wilcoxon's test
cannot give less than .25 for three, or .0625 for five.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

#: Decimals that count: metrics are of order 1, and later decimals are noise of averaging.
_DIGITS = 12
#: Draws of the bootstrap at a time, 12 bytes each: as many as a core's cache holds.
_DRAWS = 1 << 16


@dataclass(frozen=True)
class PairedTest:
    """A test of the difference first - second between n paired values.

    Attributes:
        n: Number of pairs.
        mean_difference: Mean of first - second: above 0 if the first values are larger.
        t_p: p of the paired t-test.
        wilcoxon_p: p of Wilcoxon's signed-rank test.
        interval: 95 % bootstrap interval of the mean difference.
    """

    n: int
    mean_difference: float
    t_p: float
    wilcoxon_p: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Significance:
    """One model against the reference on one metric; differences are model - reference.

    Attributes:
        users: Pairs are users, their values averaged over the seeds that both models have.
        seeds: Pairs are the means of the seeds that both have; None if both have one seed only.
        adjusted_t_p: ``users.t_p`` after Holm's correction over all compared models.
        adjusted_wilcoxon_p: ``users.wilcoxon_p`` after the same correction.
    """

    users: PairedTest
    seeds: PairedTest | None
    adjusted_t_p: float
    adjusted_wilcoxon_p: float


def against(
    reference: str, values: dict[str, dict[int, pd.Series]], *, resamples: int = 2_000
) -> dict[str, Significance]:
    """Compares every model with one on the same users.

    Args:
        reference: The model that all others are compared with.
        values: ``values[model][seed]`` holds a metric of all users, indexed by user id in any
            order, like the columns of :func:`~recbole_hill.evaluation.per_user.read_per_user`.
        resamples: Resamples of each bootstrap; 2,000 take half a second for 30,000 users.

    Returns:
        For each model but the reference, in the order of ``values``.

    Raises:
        ValueError: If there is no such reference, a model has no seed in common with it, or users
            differ, occur twice or have values that are not finite; the error names model and seed.
    """
    if not values.get(reference):
        raise ValueError(f"reference must be one of {', '.join(values)}, got {reference!r}")
    users = next(iter(values[reference].values())).index
    if users.has_duplicates:
        raise ValueError(f"{reference}: user {users[users.duplicated()][0]!r} stands twice")
    aligned = {
        model: {seed: _of_users(of_seed, users, model, seed) for seed, of_seed in seeds.items()}
        for model, seeds in values.items()
    }
    theirs = aligned.pop(reference)
    tests = {
        model: _compare(ours, theirs, model, reference, resamples)
        for model, ours in aligned.items()
    }
    adjusted_t = holm([over_users.t_p for over_users, _ in tests.values()])
    adjusted_wilcoxon = holm([over_users.wilcoxon_p for over_users, _ in tests.values()])
    return {
        model: Significance(over_users, over_seeds, t_p, wilcoxon_p)
        for (model, (over_users, over_seeds)), t_p, wilcoxon_p in zip(
            tests.items(), adjusted_t, adjusted_wilcoxon, strict=True
        )
    }


def _of_users(values: pd.Series, users: pd.Index, model: str, seed: int) -> np.ndarray:
    """Returns one seed's values in the order of the users, shape (U,)."""
    own, where = values.index, f"{model}, seed {seed}"
    if own.has_duplicates:
        raise ValueError(f"{where}: user {own[own.duplicated()][0]!r} stands twice")
    if len(odd := users.symmetric_difference(own)):
        raise ValueError(
            f"{where}: its users are not those that it is compared on: {len(odd)} are in one of "
            f"the two only, such as {odd[0]!r}"
        )
    aligned = values.reindex(users).to_numpy(np.float64)
    if not (finite := np.isfinite(aligned)).all():
        place = int(np.argmin(finite))
        raise ValueError(f"{where}: the value of user {users[place]!r} is {aligned[place]}")
    return aligned


def _compare(
    ours: dict[int, np.ndarray],
    theirs: dict[int, np.ndarray],
    model: str,
    reference: str,
    resamples: int,
) -> tuple[PairedTest, PairedTest | None]:
    """Returns the tests over users and over seeds."""
    common = [seed for seed in ours if seed in theirs]
    if not common:
        raise ValueError(
            f"{model} (seeds {sorted(ours)}) and {reference} (seeds {sorted(theirs)}) have no seed "
            "in common"
        )
    pair = [np.stack([of_model[seed] for seed in common]) for of_model in (ours, theirs)]
    over_users = paired_test(*(matrix.mean(axis=0) for matrix in pair), resamples=resamples)
    if len(common) == 1:
        return over_users, None
    return over_users, paired_test(*(matrix.mean(axis=1) for matrix in pair), resamples=resamples)


def paired_test(
    first: np.ndarray, second: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Tests whether paired values differ.

    Wilcoxon's test treats zero differences as Pratt (1959) does: it ranks them with the others and
    then leaves their ranks out. Most users' difference is zero. Without these users in the ranking,
    as in Wilcoxon's own form, a difference for a few users would count as a difference for most. If
    all differences are zero, p is 1 and the interval (0, 0). The interval is the percentile
    bootstrap's: pairs are drawn with replacement, and the interval ends at the quantiles .025 and
    .975 of their mean; below some 20 pairs it is too narrow. Differences are first rounded to 12
    decimals, because noise of averaging would hide zeros and break ties.

    Args:
        first: Shape (n,).
        second: Shape (n,), in the same order.
        resamples: Resamples of the bootstrap.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If the two are not series of one length with at least 2 finite values, or
            ``resamples`` is below 1.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            f"paired values must be two series of one length, got shapes {first.shape} and "
            f"{second.shape}"
        )
    if len(first) < 2:
        raise ValueError(f"a paired test needs at least 2 pairs, got {len(first)}")
    if bad := int((~np.isfinite(first) | ~np.isfinite(second)).sum()):
        raise ValueError(f"paired values must be finite, but {bad} of {len(first)} pairs are not")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    differences = np.round(first - second, _DIGITS)
    if not differences.any():
        return PairedTest(len(first), 0.0, 1.0, 1.0, (0.0, 0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal differences: p is 0; few pairs: see above
        t_p = stats.ttest_1samp(differences, 0.0).pvalue
        wilcoxon_p = stats.wilcoxon(differences, zero_method="pratt").pvalue
    return PairedTest(
        n=len(first),
        mean_difference=float(differences.mean()),
        t_p=float(t_p),
        wilcoxon_p=float(wilcoxon_p),
        interval=_bootstrap(differences, resamples, seed),
    )


def _bootstrap(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Returns the percentile bootstrap's 95 % interval of the mean, some resamples at a time."""
    rng, n = np.random.default_rng(seed), len(values)
    at_once = max(1, _DRAWS // n)
    means = np.empty(resamples)
    for start in range(0, resamples, at_once):
        some = means[start : start + at_once]
        some[:] = values[rng.integers(n, size=(len(some), n), dtype=np.int32)].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted by Holm's step-down method (1979), in their order.

    The smallest of m values is multiplied by m, the next by m - 1, and so on. No adjusted value is
    below the one before it, or above 1.

    Raises:
        ValueError: If a value is not between 0 and 1.
    """
    if odd := [p for p in p_values if not 0 <= p <= 1]:
        raise ValueError(f"p-values must be between 0 and 1, got {odd[0]}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
