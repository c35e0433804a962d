"""Marks of significance on a study's table: tests paired over users, with Holm's correction."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from recbole_hill.report.cells import Study
from recbole_hill.report.document import MARKS, Line, Number, Table, is_better
from recbole_hill.run.hashes import require_unchanged
from recbole_hill.run.rows import is_sampled


def tested(table: Table, study: Study, reference: str | None) -> tuple[Table, list[str]]:
    """Tests a study's lines against one of them, or each row's arms against one of its arms.

    Args:
        table: The study's table.
        study: The study; its runs keep the values per user.
        reference: See :func:`recbole_hill.report.study.study_table`.

    Returns:
        The table with p values, and notes on the tests, or on why there are none.

    Raises:
        ValueError: If the reference is not in the table.
    """
    numbered = [line for line in table.lines if line.made]
    chosen = _reference(study, numbered, reference)
    if not chosen or len(numbered) < 2:
        return table, []
    values, faults = _per_user(study, numbered, table.metrics)
    mode = _mode_of(chosen, numbered)
    other = [line.label for line in numbered if mode and line.made["candidates"] != mode]
    for label in other:
        values[label] = {}
    if other:
        faults.append(
            f"Not tested, for they rank among other items than {chosen} ({mode}): "
            f"{', '.join(other)}."
        )
    within = chosen not in {line.label for line in numbered}  # an arm, within each row
    groups = (
        [[line for line in numbered if line.name == name] for name in study.order]
        if within
        else [numbered]
    )
    tests: dict[tuple[str, str], Any] = {}
    users = 0
    for lines in groups:
        first = next((line.label for line in lines if chosen in (line.label, line.arm)), None)
        for metric in table.metrics if first else ():
            kept = {line.label: values[line.label].get(metric, {}) for line in lines}
            # While a study is being run, some rows have no seed yet that the reference has.
            kept = {label: seeds for label, seeds in kept.items() if seeds.keys() & kept[first]}
            if len(kept) > 1:
                for label, significance in _against(first, kept).items():
                    tests[label, metric] = significance
                    users = significance.users.n
    what = f"`{chosen}` of the same row" if within else f"**{chosen}**"
    if not tests:
        from recbole_hill.evaluation.per_user import PER_USER

        return table, [
            f"No significance marks: the runs keep no values per user ({PER_USER}) of {what} and "
            "another line.",
            *faults,
        ]
    lines = tuple(replace(line, numbers=tuple(_with_p(line, table, tests))) for line in table.lines)
    levels = ", ".join(f"{mark} p < {level:g}" for level, mark in sorted(MARKS.items())[::-1])
    family = "arms of a row" if within else "rows"
    notes = [
        f"{levels}: differs from {what} in a two-sided paired t test over {users:,} users (of a "
        "user, the mean over the seeds that both have), with Holm's correction over the "
        f"{family} compared"
    ]
    marked = {label for label, _ in tests}
    untested = [
        line.label
        for line in numbered
        if line.label not in (*marked, *other) and chosen not in (line.label, line.arm)
    ]
    if untested:
        notes.append(
            f"Not tested, for want of values per user and a common seed: {', '.join(untested)}."
        )
    return replace(table, lines=lines, reference=chosen), [*notes, *faults]


def _mode_of(reference: str, lines: list[Line]) -> str | None:
    """Returns what the reference ranks among; None for an arm, which is compared in its own row."""
    return next((line.made["candidates"] for line in lines if line.label == reference), None)


def _against(reference: str, values: dict[str, dict]) -> dict[str, Any]:
    from recbole_hill.report.significance import against

    return {k: v for k, v in against(reference, values).items() if k != reference}


def _with_p(line: Line, table: Table, tests: dict) -> Iterable["Number | str"]:
    for metric, number in zip(table.metrics, line.numbers, strict=True):
        p = tests.get((line.label, metric))
        if p is not None:
            number = replace(
                number,
                t_p=p.adjusted_t_p,
                wilcoxon_p=p.adjusted_wilcoxon_p,
                users=p.users,
                seeds=p.seeds,
            )
        yield number


def _reference(study: Study, lines: list[Line], asked: str | None) -> str:
    """Returns the reference: the label of a line, or an arm's name."""
    labels = [line.label for line in lines]
    arms = [arm for arm in dict.fromkeys(line.arm for line in lines) if arm]
    if asked is not None:
        if asked not in (*labels, *arms):
            raise ValueError(
                f"reference must be a row or an arm of the table, got {asked!r}; accepted are "
                f"{', '.join(dict.fromkeys([*labels, *arms]))}"
            )
        return asked
    if study.kind == "variants" and "continue" in arms:
        return "continue"
    own = [line for line in lines if not line.arm]
    if study.kind != "comparison" or not own:
        return own[0].label if own else ""
    if (usual := study.definition.get("reference")) in labels:
        return usual
    best = None
    full = [line for line in own if not is_sampled(line.made["candidates"])]
    for line in full or own:
        if line.made["own"]:
            continue
        mean = line.numbers[0].mean
        if best is None or is_better(study.definition["metrics"][0], mean, best.numbers[0].mean):
            best = line
    return best.label if best else ""


def _per_user(
    study: Study, lines: list[Line], metrics: tuple[str, ...]
) -> tuple[dict[str, dict[str, dict[int, Any]]], list[str]]:
    """Reads the values per user of every line whose runs keep them for all of its seeds.

    Returns:
        By label, metric and seed, a series indexed by user (a label without values has none); and
        notes on values that were changed after their run, are damaged or lie elsewhere.
    """
    from recbole_hill.evaluation.per_user import PER_USER, read_arms

    values: dict[str, dict[str, dict[int, Any]]] = {}
    faults = []
    for cell in study.done:
        try:
            run = study.run_of(cell)
            if run is None or not (run / PER_USER).is_file():
                continue
            require_unchanged(run, PER_USER)
            frame = read_arms(run)
        except ValueError as error:
            faults.append(f"**Not tested**: {cell['row']}, seed {cell['seed']}: {error}.")
            continue
        for line in lines:
            if line.name != cell["row"]:
                continue
            of_arm = frame[frame["arm"] == (line.arm or line.made["model"])]
            for metric in of_arm.columns.intersection(metrics) if len(of_arm) else ():
                by_metric = values.setdefault(line.label, {}).setdefault(metric, {})
                by_metric[cell["seed"]] = of_arm[metric]
    for line in lines:
        of_line = values.setdefault(line.label, {})
        if any(set(seeds) != set(line.made["seeds"]) for seeds in of_line.values()):
            of_line.clear()  # the table shows the mean of all seeds, not of some
    return values, faults
