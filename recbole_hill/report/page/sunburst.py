"""A hierarchical index as a sunburst: a ring per depth, the coarsest within."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.report.page.html import html, joined

#: Nodes drawn per depth; the smaller nodes of a parent are drawn as one.
MOST_NODES = 800
_SIZE, _HOLE, _GAP = 520, 58, 2.5
#: Upper bounds of a node's load over the even share, a shade each.
LOADS = (0.5, 0.8, 1.25, 2.0, math.inf)
LOAD_NAMES = ("under ½", "½ to .8", ".8 to 1¼", "1¼ to 2", "over 2")


@dataclass(frozen=True)
class Sector:
    """A part of a ring.

    Attributes:
        depth: The depth of its nodes.
        nodes: Its node, or its pooled nodes.
        start: Its start, as a share of the circle.
        end: Its end, as a share of the circle.
        items: The number of its items.
    """

    depth: int
    nodes: tuple[int, ...]
    start: float
    end: float
    items: int


def sectors(index: HierarchicalIndex, most: int = MOST_NODES) -> list[Sector]:
    """Returns every ring's sectors; the width of a node is its share of the items.

    Args:
        index: The index.
        most: The number of nodes that a ring shows singly, the largest ones. The other nodes of a
            parent are pooled, and nodes below a pooled node are not drawn.
    """
    sizes = {
        depth: np.bincount(index.assignments(depth), minlength=nodes)
        for depth, nodes in enumerate(index.nodes_per_depth, start=1)
    }
    drawn: list[Sector] = []
    every = np.arange(index.nodes_per_depth[-1])
    above: list[tuple[float, np.ndarray]] = [(0.0, every)]
    for depth in range(index.depth, 0, -1):
        shown = set(np.argsort(-sizes[depth], kind="stable")[:most].tolist())
        below = []
        for start, children in above:
            for sector in _within(children, start, depth, sizes[depth], shown, index.n_items):
                drawn.append(sector)
                if len(sector.nodes) == 1 and depth > 1:
                    starts, ids = index.children(depth)
                    node = sector.nodes[0]
                    below.append((sector.start, ids[starts[node] : starts[node + 1]]))
        above = below
    return drawn


def _within(
    children: np.ndarray, start: float, depth: int, sizes: np.ndarray, shown: set, n_items: int
) -> Iterable[Sector]:
    """Yields the children of one parent, the largest first, the pooled nodes last."""
    ordered = children[np.argsort(-sizes[children], kind="stable")].tolist()
    groups: list[tuple[int, ...]] = [(node,) for node in ordered if node in shown]
    pooled = tuple(node for node in ordered if node not in shown)
    for nodes in [*groups, *([pooled] if pooled else [])]:
        items = int(sizes[list(nodes)].sum())
        yield Sector(depth, nodes, start, start + items / n_items, items)
        start += items / n_items


def sunburst(
    index: HierarchicalIndex, paths: Sequence[Sequence[int]] = (), most: int = MOST_NODES
) -> str:
    """Returns the index as SVG.

    Args:
        index: The index.
        paths: Paths to mark, each as ``index.path`` returns it, depth 1 first.
        most: See :func:`sectors`.
    """
    ring = (_SIZE / 2 - _HOLE) / index.depth
    marked = {(depth, node) for path in paths for depth, node in enumerate(path, start=1)}
    parts = []
    for sector in sorted(sectors(index, most), key=lambda each: _is_marked(each, marked)):
        inner = _HOLE + ring * (index.depth - sector.depth)
        share = sector.items / len(sector.nodes) * index.nodes_per_depth[sector.depth - 1]
        shade = next(i for i, most_ in enumerate(LOADS) if share / index.n_items <= most_)
        kind = f"load{shade}" + (" pooled" if len(sector.nodes) > 1 else "")
        kind += " on-path" if _is_marked(sector, marked) else ""
        parts.append(
            html(
                '<path class="sector {}" d="{}"><title>{}</title></path>',
                kind,
                _arc(sector, inner, inner + ring - _GAP),
                _tip(sector),
            )
        )
    half = _SIZE / 2
    parts += [
        html('<text class="middle title" x="{}" y="{}">{:,}</text>', half, half - 2, index.n_items),
        html('<text class="middle tick" x="{}" y="{}">items</text>', half, half + 16),
    ]
    name = f"Index of {index.n_items:,} items: {' / '.join(map(str, index.nodes_per_depth))} nodes"
    return html(
        '<svg class="sunburst" viewBox="0 0 {} {}" role="img" aria-label="{}" '
        'style="max-width:{}px">{}</svg>',
        _SIZE,
        _SIZE,
        name,
        _SIZE,
        joined(parts),
    )


def _is_marked(sector: Sector, marked: set) -> bool:
    return any((sector.depth, node) in marked for node in sector.nodes)


def _tip(sector: Sector) -> str:
    nodes = (
        f"node {sector.nodes[0]}"
        if len(sector.nodes) == 1
        else f"{len(sector.nodes)} smaller nodes"
    )
    return f"depth {sector.depth}, {nodes}: {sector.items:,} items"


def _arc(sector: Sector, inner: float, outer: float) -> str:
    """Returns a sector as a path, clockwise from the top."""
    share = min(sector.end - sector.start, 0.99999)  # a whole circle's ends would meet
    large = int(share > 0.5)
    (a, b), (c, d), (e, f), (g, h) = (
        _at(sector.start, outer),
        _at(sector.start + share, outer),
        _at(sector.start + share, inner),
        _at(sector.start, inner),
    )
    return (
        f"M{a:.1f} {b:.1f}A{outer:.1f} {outer:.1f} 0 {large} 1 {c:.1f} {d:.1f}"
        f"L{e:.1f} {f:.1f}A{inner:.1f} {inner:.1f} 0 {large} 0 {g:.1f} {h:.1f}Z"
    )


def _at(share: float, radius: float) -> tuple[float, float]:
    angle = 2 * math.pi * share
    return _SIZE / 2 + radius * math.sin(angle), _SIZE / 2 - radius * math.cos(angle)
