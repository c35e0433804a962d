"""The table that a sweep ends with: its trials, its winner and their cost."""

from recbole_hill.report.tables import arms_table
from recbole_hill.run.text import printable

_SHOWN = 20


def sweep_table(result) -> str:
    """Returns a line per trial, best first, and under the lines the winner's test and the budget.

    Args:
        result: A :class:`recbole_hill.experiments.sweep.sweep.SweepResult`.
    """
    keys = list(result.best["settings"])
    head = ["trial", result.valid_metric, "epochs", "status", *keys]
    lines = [[*map(printable, head)], *(_cells(trial, keys) for trial in result.trials[:_SHOWN])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    if len(result.trials) > _SHOWN:
        table.append(f"and {len(result.trials) - _SHOWN} more in {result.folder / 'trials.jsonl'}")
    errors = [
        printable(f"trial {trial['trial']} failed: {trial['error']}")
        for trial in result.trials
        if trial["error"]
    ]
    return "\n".join(
        [
            *table,
            *errors[:_SHOWN],
            "",
            f"best: trial {result.best['trial']}, validation {result.valid_metric} "
            f"{result.best['score']:.4f}; on the test set:",
            arms_table(result.rows),
            "",
            f"budget: {budget_note(result.budget)}",
            printable(f"kept in {result.folder}; again: {result.command}"),
        ]
    )


def budget_note(budget: dict) -> str:
    """Returns the cost of a sweep in words.

    Args:
        budget: The ``budget`` of :class:`recbole_hill.experiments.sweep.sweep.SweepResult`.
    """
    ends = [f"{budget[name]} {name}" for name in ("done", "stopped", "failed")]
    if budget["unfinished"]:
        ends.append(f"{budget['unfinished']} more not finished")
    readings = budget["test_readings"]
    times = "once" if readings == 1 else f"{readings} times (each time the best had changed)"
    return (
        f"{budget['trials']} trials ({', '.join(ends)}), {budget['hours']:.3f} hours of training; "
        f"test set read {times}"
    )


def _cells(trial: dict, keys: list[str]) -> list[str]:
    score = "-" if trial["score"] is None else f"{trial['score']:.4f}"
    values = [_short(trial["settings"].get(key, "-")) for key in keys]
    return [*map(printable, (trial["trial"], score, trial["epochs"], trial["status"], *values))]


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
