"""The part of the page on a run's index: its tree, its nodes' loads, and one user's path."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_hill.data.ids import Ids
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.report.cells import Study
from recbole_hill.report.page.figure import histogram
from recbole_hill.report.page.html import html, joined
from recbole_hill.report.page.sunburst import LOAD_NAMES, MOST_NODES, sunburst
from recbole_hill.run.folder import INDEX
from recbole_hill.run.hashes import require_unchanged

#: The most indexes drawn for a study: the indexes of its first rows.
MOST_INDEXES = 4
_ITEMS = 5


@dataclass(frozen=True)
class UserPath:
    """The path from one user to the recommended items.

    Attributes:
        user: The external id.
        text: The text that ``explain`` prints.
        nodes: Per recommended item the nodes above it, depth 1 first.
    """

    user: str
    text: str
    nodes: tuple[tuple[int, ...], ...]


def index_section(study: Study) -> str:
    """Returns the section, or nothing if no run of the study has an index."""
    runs: dict[str, tuple[int, Path]] = {}
    refused = []
    for cell in study.done:
        try:
            run = study.run_of(cell)
        except ValueError as error:
            refused.append(html('<p class="hint">Not drawn: {}</p>', str(error)))
            continue
        if run is not None and (run / INDEX).is_file():
            runs.setdefault(cell["row"], (cell["seed"], run))
    if not runs:
        return ""
    parts = [
        html("<h2>The index</h2>"),
        html(
            '<p class="hint">A ring per depth, the coarsest within; the width of a node is '
            "its share of the items, its shade its load over the even share. Of a ring with "
            "more than {} nodes the largest are drawn, the others of a parent as one.</p>",
            MOST_NODES,
        ),
    ]
    for number, (name, (seed, run)) in enumerate(list(runs.items())[:MOST_INDEXES]):
        parts.append(html("<h3>{}, seed {}</h3>", name, seed))
        try:
            require_unchanged(run, INDEX)
            index = HierarchicalIndex.load(run / INDEX)
        except ValueError as error:
            parts.append(html('<p class="hint">Not drawn: {}</p>', str(error)))
            continue
        path = user_path(run) if number == 0 else None
        paths = path.nodes if isinstance(path, UserPath) else ()
        parts.append(
            html(
                '<div class="index"><figure>{}{}</figure><figure>{}</figure></div>',
                sunburst(index, paths),
                _key(paths),
                joined(_histograms(index)),
            )
        )
        if isinstance(path, UserPath):
            parts.append(html("<h3>The path of user {}</h3><pre>{}</pre>", path.user, path.text))
        elif path:
            parts.append(html('<p class="hint">A user\'s path is not shown: {}</p>', path))
    if len(runs) > MOST_INDEXES:
        left = ", ".join(list(runs)[MOST_INDEXES:])
        parts.append(html('<p class="hint">Not drawn: the indexes of {}.</p>', left))
    return joined([*parts, *refused])


def user_path(run: Path) -> UserPath | str:
    """Returns the path of a run's first user, or the reason why there is none."""
    from recbole_hill.serve.open_run import open_run

    try:
        user = str(Ids.load(run).users[0])
        served = open_run(run)
        text = served.explain(user, _ITEMS)
        row_of = {item: row for row, item in enumerate(served.index.items.tolist())}
        items = [item for item, _ in served.recommend([user], _ITEMS)[0]]
    except (OSError, ValueError) as error:  # weights cleared away, or the data not at hand
        return (str(error).splitlines() or [type(error).__name__])[0]
    return UserPath(user, text, tuple(served.index.path(row_of[item]) for item in items))


def _histograms(index: HierarchicalIndex) -> list[str]:
    figures = []
    for depth in range(1, index.depth + 1):
        nodes = index.nodes_per_depth[depth - 1]
        sizes = np.bincount(index.assignments(depth), minlength=nodes)
        title = f"depth {depth}: {nodes:,} nodes, largest {sizes.max():,} items"
        figures.append(histogram(sizes.tolist(), index.n_items / nodes, title))
    return figures


def _key(paths: tuple) -> str:
    kinds = [(f"load{number}", name) for number, name in enumerate(LOAD_NAMES)]
    kinds.append(("pooled", "several smaller"))
    if paths:
        kinds.append(("on-path", "on the user's path"))
    swatches = joined(
        html(
            '<span><svg viewBox="0 0 13 13"><rect class="sector {}" width="13" height="13"/>'
            "</svg>{}</span>",
            kind,
            name,
        )
        for kind, name in kinds
    )
    return html('<div class="key"><span>load over the even share:</span>{}</div>', swatches)
