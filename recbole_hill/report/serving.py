"""Models of labelled impressions side by side: their errors, and the cost of a request.

The columns of HSNN's Table 1 (arXiv 2408.06653), each model relative to two towers.
"""

from statistics import mean

from recbole_hill.report.markdown import note_list, pipe_table
from recbole_hill.report.seeds import (
    differences,
    how_made,
    identity,
    require_comparable,
    require_one_experiment,
    spread,
    spread_of,
)
from recbole_hill.run.stages import seconds_of_stages

_KEPT = ("weights_mib", "tables_mib")
#: Fields that all rows must share.
_SHARED = ("dataset", "data_sha256", "protocol", "split_seed", "versions")
#: The columns of :func:`request_cost`.
REQUEST_COST = ("FLOPs a request", "ms (p99)", "weights, tables, MiB")
#: The model that the others are relative to.
BASELINE = "TTSN"
COLUMNS = (
    "model",
    "seeds",
    "NE",
    "NE against TTSN",
    "AUC",
    "recall@20",
    "index recall@20",
    "FLOPs a request",
    "x TTSN",
    "FLOPs as run",
    "M * I + M * V",
    "ms (p99)",
    "weights, tables, MiB",
    "training s",
)


def serving_table(rows: list[dict]) -> str:
    """Returns one line per model and settings, seeds averaged, in the order of the rows.

    Args:
        rows: Rows of runs on one dataset under one protocol, all with ``serving``.

    Raises:
        ValueError: If rows do not compare, or a row is of another kind of model.
    """
    require_one_experiment(rows, _SHARED)
    for row in rows:
        if "serving" not in row:
            raise ValueError(
                f"--serving is for models of labelled impressions; a row is of {row['model']}"
            )
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(_name(row), []).append(row)
    for group in groups.values():
        require_comparable(group)
    towers = {row["seed"]: row for row in groups.get(BASELINE, ())}
    table = pipe_table(COLUMNS, (_cells(name, group, towers) for name, group in groups.items()))
    commits = ", ".join(dict.fromkeys(str(row["commit"]) for row in rows))
    first = {**rows[0], "model": "Models", "commit": commits}
    notes = how_made(first, sorted({row["seed"] for row in rows}))
    return "\n".join([table, "", *note_list([*notes, *_of_all(rows)])])


def _of_all(rows: list[dict]) -> list[str]:
    """Returns the settings that a reader must know and that no line's name shows."""
    known = {}
    for key, usual in (("monn_scale", 1.0), ("ranking_users", None)):
        values = {row["settings"].get(key, usual) for row in rows} - {usual}
        if values:
            known[key] = ", ".join(map(str, sorted(values)))
    return [", ".join(f"`{key}` {value}" for key, value in known.items())] if known else []


def _cells(name: str, rows: list[dict], towers: dict[int, dict]) -> list[str]:
    cost, metrics = ([row[part] for row in rows] for part in ("serving", "metrics"))
    flops = mean(one["flops"] for one in cost)
    gains = differences(rows, towers, "ne")
    operations, latency, kept = request_cost(cost).values()
    base = mean(row["serving"]["flops"] for row in towers.values()) if towers else None
    return [
        name,
        str(len(rows)),
        spread_of(metrics, "ne"),
        f"{spread(gains, 2)} %" if gains and name != BASELINE else "–",
        spread_of(metrics, "auc"),
        spread_of(metrics, "recall@20"),
        spread_of(cost, "index_recall@20"),
        operations,
        "–" if base is None else f"{flops / base:,.1f}",
        _mean(cost, "flops_measured", ",.0f"),
        _mean(cost, "flops_formula", ",.0f"),
        latency,
        kept,
        f"{mean(seconds_of_stages(row['stages']) for row in rows):,.0f}",
    ]


def request_cost(cost: list[dict]) -> dict[str, str]:
    """Returns the cells on the cost of a request, by the names of their columns.

    Args:
        cost: ``serving`` of rows that differ in their seed alone; the cells are means over them.
    """
    latency, slowest = (_mean(cost, key, ".2f") for key in ("latency_ms", "latency_p99_ms"))
    kept = ", ".join(_mean(cost, key, ".2f") for key in _KEPT)
    cells = (_mean(cost, "flops", ",.0f"), f"{latency} ({slowest})", kept)
    return dict(zip(REQUEST_COST, cells, strict=True))


def _mean(cost: list[dict], key: str, form: str) -> str:
    """Returns a cost's mean; a dash if the cost was not measured in a row yet."""
    return format(mean(one[key] for one in cost), form) if all(key in c for c in cost) else "–"


def _name(row: dict) -> str:
    """Returns the model with its sizes, and the settings of its index that are not the defaults."""
    settings = row["settings"]
    if row["model"] == "MoNN":
        return f"MoNN {settings['monn_size']}"
    if "hsnn_layers" not in settings:
        return row["model"]
    layers = [
        f"{layer['size']} on {layer['nodes']} nodes" if "nodes" in layer else layer["size"]
        for layer in settings["hsnn_layers"]
    ]
    name = f"HSNN {', '.join(layers)}"
    learning = identity(row)["index_learning"]
    changes = [f"index {learning}"] if learning != "joint" else []
    for key, what in (
        ("index_alpha_power", "temperature schedule"),
        ("index_balance", "balance"),
        ("index_warmup_epochs", "warm-up"),
    ):
        if not settings[key]:
            changes.append(f"without {what}")
    if settings.get("index_direction") == "top_down":
        changes.append("residual codes")
    if settings.get("index_start") == "random":
        changes.append("random first nodes")
    if not settings.get("index_revive", True):
        changes.append("unused nodes stay")
    if (first := settings.get("item_epochs", 2)) != 2:
        changes.append(f"{first} epochs of the item layer first")
    # Rows from before there were these two settings let all of the gradient through.
    if settings.get("layer_loss", "ensemble") == "ensemble":
        changes.append("learnt through the ensemble")
    if learning == "joint" and (share := settings.get("index_gradient", 1.0)):
        changes.append(f"gradient through the index {share:g}")
    return "; ".join([name, *changes])
