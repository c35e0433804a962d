"""Rows of one model under several settings as one Markdown table of means and spreads."""

from recbole_hill.report.markdown import note_list, pipe_table
from recbole_hill.report.seeds import (
    how_made,
    identity,
    require_comparable,
    require_one_experiment,
    sampled_notes,
    spread_of,
)
from recbole_hill.run.folder import CHOICE
from recbole_hill.run.stages import seconds_of_stages

#: Fields that all rows must share; the settings that differ tell the variants apart.
_SHARED = ("model", "dataset", "data_sha256", "protocol", "split_seed", "versions")
_USUAL = ("recall@20", "ndcg@20")


def ablation_table(rows: list[dict], metrics: tuple[str, ...] | None = None) -> str:
    """Returns one line per variant, in the order of the rows.

    The settings in which the runs differ, apart from the seed, name a variant; its seeds are
    averaged. A variant of HILL shows the metrics of the exact ranking and of the served lists, the
    search's recall and cost against exact search, and how evenly the nodes are used.

    Args:
        rows: Rows of runs of one model on one dataset under one protocol.
        metrics: The metrics to show. None: recall@20 and ndcg@20, or all of the first row's if the
            runs were not measured at 20.

    Raises:
        ValueError: If rows differ in something that they must share, or in nothing.
    """
    require_one_experiment(rows, _SHARED)
    identities = [identity(row) for row in rows]
    settings = [
        key
        for key in identities[0]
        if key not in (*_SHARED, "commit", "plugins")
        and len({str(one.get(key)) for one in identities}) > 1
    ]
    if not settings:
        raise ValueError("the runs differ in their seed alone; report without --ablation")
    groups: dict[tuple, list[dict]] = {}
    for row, one in zip(rows, identities, strict=True):
        groups.setdefault(tuple(str(one.get(key)) for key in settings), []).append(row)
    for group in groups.values():
        require_comparable(group)
    arms = [arm for arm in ("backbone", CHOICE) if any(row["arm"] == arm for row in rows)]
    arms = arms or [rows[0]["arm"]]
    usual = [metric for metric in _USUAL if metric in rows[0]["metrics"]]
    metrics = metrics or usual or [*rows[0]["metrics"]]
    through = {"backbone": "exact", CHOICE: "as served"}
    columns = [*settings, "seeds"]
    columns += [f"{metric}, {through.get(arm, arm)}" for arm in arms for metric in metrics]
    if CHOICE in arms:
        columns += ["index recall@20", "scored", "nodes used", "largest", "entropy"]
    columns.append("seconds")
    lines = []
    for values, group in groups.items():
        by_arm = {arm: [row for row in group if row["arm"] == arm] for arm in arms}
        cells = [*values, str(len(by_arm[arms[0]]))]
        for arm in arms:
            measured = [row["metrics"] for row in by_arm[arm]]
            cells += [spread_of(measured, metric) for metric in metrics]
        if CHOICE in arms:
            cells += _index_cells(by_arm[CHOICE])
        cells.append(f"{_mean_seconds(by_arm[arms[0]]):,.0f}")
        lines.append(cells)
    notes = [*how_made(rows[0], sorted({row["seed"] for row in rows})), *sampled_notes(rows)]
    return "\n".join([pipe_table(columns, lines), "", *note_list(notes)])


def _index_cells(rows: list[dict]) -> list[str]:
    """Returns the search's recall and cost, and how evenly the nodes of depth 1 are used."""
    costs = [row["retrieval"] for row in rows]
    cells = [spread_of(costs, "index_recall@20")]
    cells.append(f"{sum(cost['scored_fraction'] for cost in costs) / len(costs):.2%}")
    indexes = [row["stages"]["index"] for row in rows]
    used = [index["nodes_per_depth"] for index in indexes]
    cells.append(" / ".join(f"{sum(x) / len(x):,.0f}" for x in zip(*used, strict=True)))
    loads = [index["loads"][0] for index in indexes if "loads" in index]
    if not loads:
        return [*cells, "–", "–"]
    cells.append(f"{sum(load['largest'] for load in loads) / len(loads):.2%}")
    return [*cells, f"{sum(load['entropy'] for load in loads) / len(loads):.3f}"]


def _mean_seconds(rows: list[dict]) -> float:
    """Returns the mean seconds of training, runs that a run started from included."""
    return sum(seconds_of_stages(row["stages"], with_starts=True) for row in rows) / len(rows)
