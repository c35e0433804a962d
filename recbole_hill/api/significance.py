"""Whether a metric differs by more than chance, as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recbole_hill.api.compare import Comparison
from recbole_hill.api.evaluation import Evaluation
from recbole_hill.api.run import Run

if TYPE_CHECKING:
    import pandas as pd

Measured = Run | Evaluation


def significance(
    a: Comparison | Measured | Sequence[Measured],
    b: Measured | Sequence[Measured] | None = None,
    *,
    metric: str = "ndcg@20",
    reference: str | None = None,
) -> "pd.DataFrame":
    """Tests whether a metric differs, paired over the test users.

    Args:
        a: A run, an evaluation, several runs of one model with different seeds, or a comparison.
        b: What ``a`` is compared with; None with a comparison.
        metric: A metric that is a mean over users.
        reference: With a comparison: the row that the others are compared with.

    Returns:
        A row per compared model: ``model``, ``reference``, ``metric``, ``difference`` (model minus
        reference), ``low`` and ``high`` (95 % bootstrap interval), ``t_p`` and ``wilcoxon_p``
        (two-sided; of several models after Holm's correction), and ``users``.

    Raises:
        ValueError: If there is no such metric per user, or the test users are not the same.
    """
    if isinstance(a, Comparison):
        if b is not None:
            raise ValueError("a comparison is tested within itself: name a row by reference")
        tests = a.significance(reference=reference)
        if metric not in set(tests["metric"]):
            known = ", ".join(dict.fromkeys(tests["metric"]))
            raise ValueError(f"the comparison has no tests of {metric!r}; it has {known}")
        return tests[tests["metric"] == metric].reset_index(drop=True)
    if b is None:
        raise ValueError("significance needs two runs or evaluations, or a comparison; got one")
    import pandas as pd

    from recbole_hill.report.significance import against

    first, second = ([each] if isinstance(each, Measured) else list(each) for each in (a, b))
    names = first[0].name, second[0].name
    if names[0] == names[1]:
        names = f"{names[0]} (a)", f"{names[1]} (b)"
    alone = len(first) == len(second) == 1  # then the seeds need not be the same
    values = {
        name: {0 if alone else _seed(each): _values(each, metric) for each in group}
        for name, group in zip(names, (first, second), strict=True)
    }
    found = against(names[1], values)[names[0]]
    low, high = found.users.interval
    row = {
        "model": names[0],
        "reference": names[1],
        "metric": metric,
        "difference": found.users.mean_difference,
        "low": low,
        "high": high,
        "t_p": found.users.t_p,
        "wilcoxon_p": found.users.wilcoxon_p,
        "users": found.users.n,
    }
    return pd.DataFrame([row])


def _seed(measured: Measured) -> int:
    return (measured.served if isinstance(measured, Run) else measured.record)["seed"]


def _values(measured: Measured, metric: str) -> "pd.Series":
    table = measured.per_user()
    if metric not in table:
        known = ", ".join(table)
        raise ValueError(f"{measured.name} has no values per user of {metric!r}; it has {known}")
    return table[metric]
