"""Rows of one model under several settings as one Markdown table: mean and spread of each."""

from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import (
    how_made,
    identity,
    require_comparable,
    require_one_experiment,
    spread,
)

#: What all rows must share; what else differs tells the variants apart.
_SHARED = ("model", "dataset", "data_sha256", "protocol", "split_seed", "versions")


def ablation_table(rows: list[dict], metrics: tuple[str, ...] = ("recall@20", "ndcg@20")) -> str:
    """Returns one line per variant, in the order in which they come.

    A variant is named by the settings in which the runs differ (their seed apart), seeds are
    averaged. HILL's variants show the exact ranking, what was found through the index, what the
    search lost and cost against exact search, and how evenly the nodes are used.

    Args:
        rows: Rows of runs of one model on one dataset under one protocol.
        metrics: What to show of each run.

    Raises:
        ValueError: If rows differ in what they must share, or in nothing.
    """
    require_one_experiment(rows, _SHARED)
    made = [identity(row) for row in rows]
    settings = [
        key
        for key in made[0]
        if key not in (*_SHARED, "commit") and len({str(one.get(key)) for one in made}) > 1
    ]
    if not settings:
        raise ValueError("the runs differ in their seed alone; report without --ablation")
    groups: dict[tuple, list[dict]] = {}
    for row, one in zip(rows, made, strict=True):
        groups.setdefault(tuple(str(one.get(key)) for key in settings), []).append(row)
    for group in groups.values():
        require_comparable(group)
    arms = [arm for arm in ("backbone", "HILL") if any(row["arm"] == arm for row in rows)]
    arms = arms or [rows[0]["arm"]]
    through = {"backbone": "exact", "HILL": "as served"}
    columns = [*settings, "seeds"]
    columns += [f"{metric}, {through.get(arm, arm)}" for arm in arms for metric in metrics]
    if "HILL" in arms:
        columns += ["index recall@20", "scored", "nodes used", "largest", "entropy"]
    columns.append("seconds")
    lines = []
    for values, group in groups.items():
        by_arm = {arm: [row for row in group if row["arm"] == arm] for arm in arms}
        cells = [*values, str(len(by_arm[arms[0]]))]
        for arm in arms:
            cells += [spread([row["metrics"][metric] for row in by_arm[arm]]) for metric in metrics]
        if "HILL" in arms:
            cells += _index_cells(by_arm["HILL"])
        cells.append(f"{sum(map(_seconds, by_arm[arms[0]])) / len(by_arm[arms[0]]):,.0f}")
        lines.append(cells)
    notes = how_made(rows[0], sorted({row["seed"] for row in rows}))
    return "\n".join([pipe_table(columns, lines), "", *notes])


def _index_cells(rows: list[dict]) -> list[str]:
    """Returns the search's recall and cost, and the loads of depth 1, the finest."""
    found = [row["retrieval"] for row in rows]
    cells = [spread([cost["index_recall@20"] for cost in found])]
    cells.append(f"{sum(cost['scored_fraction'] for cost in found) / len(found):.2%}")
    indexes = [row["stages"]["index"] for row in rows]
    used = [index["nodes_per_depth"] for index in indexes]
    cells.append(" / ".join(f"{sum(x) / len(x):,.0f}" for x in zip(*used, strict=True)))
    loads = [index["loads"][0] for index in indexes if "loads" in index]
    if not loads:
        return [*cells, "–", "–"]
    cells.append(f"{sum(load['largest'] for load in loads) / len(loads):.2%}")
    return [*cells, f"{sum(load['entropy'] for load in loads) / len(loads):.3f}"]


def _seconds(row: dict) -> float:
    """Returns what training took, that of a backbone taken from another run included."""
    stages = row["stages"].values()
    return sum(stage["seconds"] + stage.get("trained_seconds", 0) for stage in stages)
