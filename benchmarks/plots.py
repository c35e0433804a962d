"""Curves of benchmarks/retrieval.py as SVG and PNG."""

from pathlib import Path

import numpy as np
from measure import Point

from recbole_hill.optional import require

#: Colours that the colour-blind can tell apart (Okabe and Ito); ours are drawn thick.
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
#: Below this recall nobody would operate a search.
LEAST_RECALL = 0.6


def curves(points: list[Point], n_items: int, k: int, target: float, path: Path) -> None:
    """Draws recall against latency and against the scored fraction.

    Args:
        points: Of all searchers.
        n_items: I.
        k: List length.
        target: The recall that the tables are at, drawn as a line.
        path: Where to write, without a suffix.
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
        target: The recall that HILL was run at.
        k: List length.
        path: Where to write, without a suffix.
    """
    figure, axes = _figure(2, width=10)
    items = [row["items"] for row in rows]
    panels = (
        ("scored", items, "inner products per user"),
        ("median", [row["flat_median"] for row in rows], "latency of one user, median (ms)"),
    )
    for axis, (key, exact, label) in zip(axes, panels, strict=True):
        ours = [row[key] for row in rows]
        axis.plot(items, exact, color="#000000", marker="D", markersize=5, label="FAISS Flat")
        name = f"HILL-FAISS, beam, at recall@{k} ≥ {target:g}"
        axis.plot(items, ours, color="#D55E00", marker="o", linewidth=2.4, label=name)
        axis.set(xscale="log", yscale="log", xlabel="items (log scale)", ylabel=f"{label}, log")
        if len(rows) > 1:
            text = f"slope {slope(items, ours):.2f}"
            axis.annotate(
                text, (items[-1], ours[-1]), (-8, -14), textcoords="offset points", ha="right"
            )
            axis.annotate(
                f"slope {slope(items, exact):.2f}",
                (items[-1], exact[-1]),
                (-10, -2),
                textcoords="offset points",
                ha="right",
            )
    _legend(figure, axes[0])
    _write(figure, path)


def slope(items: list[float], costs: list[float]) -> float:
    """Returns the exponent of the power law through the points: 1 is linear growth."""
    return float(np.polyfit(np.log(items), np.log(costs), 1)[0])


def _figure(n_panels: int, width: float):
    require("matplotlib", "matplotlib", "plots of benchmarks/retrieval.py", extra="plots")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 5), layout="constrained")
    FigureCanvasAgg(figure)  # no display is needed
    axes = figure.subplots(1, n_panels)
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
