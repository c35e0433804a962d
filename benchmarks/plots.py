"""Plots of the benchmarks as SVG and PNG."""

from itertools import cycle
from pathlib import Path

import numpy as np
from measure import Point

from recbole_hill.host.optional import require

#: Colours that colour-blind readers can tell apart (Okabe and Ito); our searchers have thick lines.
STYLES = {
    "exact (PyTorch)": ("#000000", "s"),
    "FAISS Flat": ("#000000", "D"),
    "HILL beam": ("#E69F00", "o"),
    "HILL-FAISS, beam": ("#D55E00", "o"),
    "HILL-FAISS, nodes": ("#CC79A7", "o"),
    "FAISS IVFFlat, L2 lists": ("#0072B2", "^"),
    "FAISS IVFFlat, spherical lists": ("#56B4E9", "v"),
    "FAISS HNSW, M=32": ("#009E73", "P"),
}
OTHER = ("#777777", "X")
RUNS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))
#: The plots start at this recall: no system would serve a lower one.
LEAST_RECALL = 0.6


def curves(points: list[Point], n_items: int, k: int, target: float, path: Path) -> None:
    """Draws recall against latency and against the scored fraction.

    Args:
        points: Points of all searchers.
        n_items: I.
        k: List length.
        target: Recall of the tables, drawn as a line.
        path: Path of the files, without a suffix.
    """
    figure, axes = _figure(2, width=11)
    names = list(dict.fromkeys(point.searcher for point in points))
    for name in names:
        shown = [p for p in points if p.searcher == name and p.recall >= LEAST_RECALL]
        colour, marker = STYLES.get(name, OTHER)
        style = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "linewidth": 2.4 if name.startswith("HILL") else 1.2,
            "label": name,
        }
        recalls = [point.recall for point in shown]
        axes[0].plot([point.median for point in shown], recalls, **style)
        axes[1].plot([100 * point.scored / n_items for point in shown], recalls, **style)
    axes[0].set(xlabel="latency of one user, median (ms, log scale)", ylabel=f"recall@{k} of exact")
    axes[1].set(xlabel="inner products (% of the items, log scale)")
    for axis in axes:
        axis.set(xscale="log", ylim=(LEAST_RECALL, 1.01))
        axis.axhline(target, color="#999999", linewidth=1, linestyle=":")
        axis.xaxis.set_major_formatter("{x:g}")
    figure.suptitle(f"{n_items:,} items: up and to the left is better", fontsize=11)
    _legend(figure, axes[0])
    _write(figure, path)


def growth(rows: list[dict], target: float, k: int, path: Path) -> None:
    """Draws scored items and latency against the catalogue's size.

    Args:
        rows: One per size: ``items``, ``scored``, ``median``, ``flat_median``.
        target: Recall at which HILL was run.
        k: List length.
        path: Path of the files, without a suffix.
    """
    figure, axes = _figure(2, width=10)
    items, flat = ([row[key] for row in rows] for key in ("items", "flat_median"))
    panels = (
        ("scored", items, "inner products per user (log scale)"),
        ("median", flat, "median latency of one user (ms, log scale)"),
    )
    for axis, (key, exact, label) in zip(axes, panels, strict=True):
        ours = [row[key] for row in rows]
        axis.plot(items, exact, color="#000000", marker="D", markersize=5, label="FAISS Flat")
        name = f"HILL-FAISS, beam, at recall@{k} ≥ {target:g}"
        axis.plot(items, ours, color="#D55E00", marker="o", linewidth=2.4, label=name)
        decades = np.log10([min(*ours, *exact), max(*ours, *exact)])
        axis.set(xscale="log", yscale="log", xlabel="items (log scale)", ylabel=label)
        axis.set(ylim=(10 ** np.floor(decades[0]), 10 ** np.ceil(decades[1])))
        axis.set_xticks(items, [f"{size:,}" for size in items])
        axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter("{x:,g}")
        if len(rows) > 1:
            axis.set_xlim(items[0] / 1.3, items[-1] * (items[-1] / items[0]) ** 0.25)  # for text
            for costs in (ours, exact):
                text = f"slope {slope(items, costs):.2f}"
                axis.annotate(text, (items[-1], costs[-1]), (8, -3), textcoords="offset points")
    _legend(figure, axes[0])
    _write(figure, path)


def slope(items: list[float], costs: list[float]) -> float:
    """Returns the exponent of the power law through the points; 1 is linear growth."""
    return float(np.polyfit(np.log(items), np.log(costs), 1)[0])


def write_convergence(
    curves: dict[str, list[tuple[float, float]]], metric: str, path: Path
) -> None:
    """Draws a metric against training time.

    Args:
        curves: For each run, by its name, the minutes and values of its validations.
        metric: Name of the metric.
        path: Path of the files, without a suffix.
    """
    figure, axes = _figure(1, width=7)
    axis = axes[0]
    for (name, points), (colour, marker) in zip(curves.items(), cycle(RUNS)):
        axis.plot(*zip(*points, strict=True), color=colour, marker=marker, label=name)
    axis.set(xlabel="training, minutes", ylabel=metric, xlim=(0, None))
    _legend(figure, axis)
    _write(figure, path)


def _figure(n_panels: int, width: float):
    require("matplotlib", "matplotlib", "plots of the benchmarks", extra="plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 5), layout="constrained")
    FigureCanvasAgg(figure)  # no display is needed
    axes = figure.subplots(1, n_panels, squeeze=False)[0]
    for axis in axes:
        axis.grid(which="major", color="#e5e5e5", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False
    )


def _write(figure, path: Path) -> None:
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150)


def write_growth_of_training(rows: list[dict], path: Path) -> None:
    """Draws an epoch's time and the peak memory against interactions, batch and D.

    Args:
        rows: As benchmarks/growth.py measures them: ``interactions``, ``batch``, ``dim``, ``epoch``
            (s) and ``mib``.
        path: Path of the files, without a suffix.
    """
    figure, axes = _figure(3, width=13)
    usual = {key: min(rows, key=lambda row: abs(row[key] - value))[key] for key, value in USUAL}
    middle = sorted({row["interactions"] for row in rows})
    usual["interactions"] = middle[len(middle) // 2]
    panels = zip(axes, ("interactions", "batch", "dim"), strict=True)
    costs = [row[name] for row in rows for name, *_ in GROWING]
    limits = 10 ** np.floor(np.log10(min(costs))), 10 ** np.ceil(np.log10(max(costs)))
    for axis, key in panels:
        others = [name for name in usual if name != key]
        shown = [row for row in rows if all(row[name] == usual[name] for name in others)]
        shown.sort(key=lambda row: row[key])
        values = [row[key] for row in shown]
        for name, label, colour in GROWING:
            costs = [row[name] for row in shown]
            axis.plot(values, costs, color=colour, marker="o", linewidth=2, label=label)
        axis.set(xscale="log", yscale="log", xlabel=f"{key} (log scale)", ylim=limits)
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.xaxis.set_minor_formatter("")
        axis.yaxis.set_major_formatter("{x:,g}")
    axes[0].set_ylabel("seconds, MiB (log scale)")
    _legend(figure, axes[0])
    _write(figure, path)


#: Values of the two settings that a panel does not vary.
USUAL = (("batch", 2048), ("dim", 64))
GROWING = (
    ("epoch", "processor seconds of an epoch", "#D55E00"),
    ("mib", "peak memory, MiB", "#0072B2"),
)
