"""How a model's defaults did on data that nobody tuned: the study of results/defaults.md."""

import markup

from recbole_hill.config.properties import read_yaml
from recbole_hill.train.arms import FLOOR

FOLDER = "defaults/"  # of results/, with a file of rows a dataset
METRICS = ("recall@20", "ndcg@20")
EXPLANATION = (
    "Datasets that no file of settings names, with the defaults for unknown data; one seed. "
    "[How they were made](../results/defaults.md)."
)


def section(name: str, rows: list[dict], why: dict[str, str]) -> list[str]:
    """Returns the parts of a model's page on the study of defaults.

    Args:
        name: The model.
        rows: Its rows, of :func:`measured.by_model`.
        why: By model, why it is below ItemKNN or Pop.

    Raises:
        ValueError: If the model is below them, and the reason is missing.
    """
    served = {row["dataset"]: row for row in rows if row["file"].startswith(FOLDER)}
    if not served or name in FLOOR:
        return []
    below = sorted(data for data, row in served.items() if _below(row))
    if bool(below) != (name in why):
        raise ValueError(f"{name} is below the floor on {below}; results/defaults/why.yaml")
    head = ["dataset", *(f"{who} {metric}" for metric in METRICS for who in ("its", *FLOOR))]
    lines = [[data, *_numbers(served[data])] for data in sorted(served)]
    reason = [f"Below ItemKNN on {', '.join(below)}: {why[name]}"] if below else []
    return ["## On data that nobody tuned", EXPLANATION, markup.table(head, lines), *reason]


def _numbers(row: dict) -> list[str]:
    values = (
        metrics[metric]
        for metric in METRICS
        for metrics in (row["metrics"], *(row["floor"][name] for name in FLOOR))
    )
    return [f"{value:.4f}" for value in values]


def _below(row: dict) -> bool:
    """Returns whether a metric of a row is below one of the floor's."""
    return any(
        row["metrics"][metric] < metrics[metric]
        for metrics in row["floor"].values()
        for metric in METRICS
    )


def reasons(folder) -> dict[str, str]:
    """Returns, by model, why it is below the floor: ``why.yaml`` of the study's folder."""
    return read_yaml(folder / FOLDER / "why.yaml")
