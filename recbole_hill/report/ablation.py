"""Rows of one model under several settings as one Markdown table of means and spreads."""

from collections.abc import Sequence

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
from recbole_hill.train.arms import exact_arm

#: Fields that all rows must share; the settings that differ tell the variants apart.
_SHARED = ("model", "dataset", "data_sha256", "protocol", "split_seed", "versions")
_USUAL = ("recall@20", "ndcg@20")


def ablation_table(rows: list[dict], metrics: tuple[str, ...] | None = None) -> str:
    """Returns one line per variant, in the order of the rows.

    The settings in which the runs differ, apart from the seed, name a variant; its seeds are
    averaged. A variant of HILL shows the metrics of the exact ranking and of the served lists, both
    by the weights that the run serves, so that they differ by the search alone. It also shows the
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
        for key in dict.fromkeys(key for one in identities for key in one)
        if key not in (*_SHARED, "commit", "plugins")
        and len({_written(one, key) for one in identities}) > 1
    ]
    if not settings:
        raise ValueError("the runs differ in their seed alone; report without --ablation")
    groups: dict[tuple, list[dict]] = {}
    for row, one in zip(rows, identities, strict=True):
        groups.setdefault(tuple(_written(one, key) for key in settings), []).append(row)
    for group in groups.values():
        require_comparable(group)
    has_index = any(row["arm"] == CHOICE for row in rows)
    served = CHOICE if has_index else rows[0]["arm"]
    usual = [metric for metric in _USUAL if metric in rows[0]["metrics"]]
    metrics = metrics or usual or [*rows[0]["metrics"]]
    columns = [*settings, "seeds"]
    through = ("exact", "as served") if has_index else (served,)
    columns += [f"{metric}, {name}" for name in through for metric in metrics]
    if has_index:
        columns += ["index recall@20", "scored", "nodes used", "largest", "entropy"]
    columns.append("seconds")
    lines = []
    for values, group in groups.items():
        as_served = [row for row in group if row["arm"] == served]
        measured = [row["metrics"] for row in as_served]
        cells = [*values, str(len(as_served))]
        if has_index:
            cells += _exact_cells(group, as_served, metrics)
        cells += [spread_of(measured, metric) for metric in metrics]
        if has_index:
            cells += _index_cells(as_served)
        cells.append(f"{_mean_seconds(as_served):,.0f}")
        lines.append(cells)
    notes = [*how_made(rows[0], sorted({row["seed"] for row in rows})), *sampled_notes(rows)]
    return "\n".join([pipe_table(columns, lines), "", *note_list(notes)])


def _written(settings: dict, key: str) -> str:
    """Returns a setting's value; a dash for a row from before there was the setting."""
    return str(settings[key]) if key in settings else "–"


def _exact_cells(rows: list[dict], as_served: list[dict], metrics: Sequence[str]) -> list[str]:
    """Returns the metrics of the exact ranking by the served weights.

    They are dashes if the rows lack a run's arm with these weights: another arm's metrics would
    mix a change of the weights with the search.
    """
    exact = [row["metrics"] for row in rows if row["arm"] == exact_arm(row["stages"])]
    if len(exact) < len(as_served):
        return ["–"] * len(metrics)
    return [spread_of(exact, metric) for metric in metrics]


def _index_cells(rows: list[dict]) -> list[str]:
    """Returns the search's recall and cost, and how evenly the nodes of depth 1 are used."""
    costs = [row.get("retrieval") or row["serving"] for row in rows]
    cells = [spread_of(costs, "index_recall@20")]
    scored = [cost["scored_fraction"] for cost in costs if "scored_fraction" in cost]
    cells.append(f"{sum(scored) / len(scored):.2%}" if scored else "–")
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
