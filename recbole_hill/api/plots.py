"""Pictures of a run by matplotlib."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from recbole_hill.host.optional import require
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.report.page.sunburst import LOADS, sectors
from recbole_hill.run.folder import INDEX, read_config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: RecBole's names of the curves in its event files (the misspelling is RecBole's).
_LOSS, _SCORE = "Loss/Train", "Vaild_score"


@dataclass(frozen=True)
class RunPlots:
    """Pictures of one run; each is drawn into axes, and returns them.

    Attributes:
        folder: The run's folder.
    """

    folder: Path

    def __call__(self, *_, **__) -> NoReturn:
        """Says which pictures there are.

        Raises:
            TypeError: Always.
        """
        raise TypeError("plot is no function: call plot.training() or plot.index()")

    def training(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the loss and the validation score of the epochs of the backbone.

        Args:
            ax: Where to draw; None: a new figure.

        Raises:
            ImportError: If matplotlib is not installed; the message names the extra.
            ValueError: If the run has no epochs, as a model that is fitted at once.
        """
        ax = _axes(ax)
        curves = self.curves()
        if not curves:
            raise ValueError(f"the run in {self.folder} kept no curve of its training")
        metric = read_config(self.folder)["valid_metric"]
        for name, colour, of in (("loss", "C0", _LOSS), ("valid " + metric, "C1", _SCORE)):
            if of not in curves:
                continue
            if ax.lines:
                ax = ax.twinx()
            epochs, values = zip(*curves[of], strict=True)
            ax.plot(epochs, values, color=colour, marker="." if len(values) < 50 else "")
            ax.set_ylabel(name, color=colour)
            ax.set_xlabel("epoch")
        return ax

    def index(self, ax: "Axes | None" = None) -> "Axes":
        """Draws the index as rings, the coarsest depth within.

        The width of a node is its share of the items, its shade its load over the even share.

        Args:
            ax: Polar axes to draw into; None: a new figure.

        Raises:
            ImportError: If matplotlib is not installed; the message names the extra.
            ValueError: If the run has no index.
        """
        ax = _axes(ax, projection="polar")
        ax.set_axis_off()
        file = self.folder / INDEX
        if not file.is_file():
            raise ValueError(f"the run in {self.folder} has no index to draw")
        index = HierarchicalIndex.load(file)
        shades = _pyplot().get_cmap("viridis")(np.linspace(0.1, 0.95, len(LOADS)))
        for sector in sectors(index):
            nodes = index.nodes_per_depth[sector.depth - 1]
            load = sector.items / len(sector.nodes) * nodes / index.n_items
            ax.bar(
                x=np.pi * (sector.start + sector.end),
                width=2 * np.pi * (sector.end - sector.start),
                bottom=0.5 + index.depth - sector.depth,
                height=1.0,
                color=shades[next(i for i, most in enumerate(LOADS) if load <= most)],
                edgecolor="white",
                linewidth=0.3,
            )
        ax.set_title(
            " / ".join(f"{nodes:,}" for nodes in index.nodes_per_depth) + " nodes over "
            f"{index.n_items:,} items"
        )
        return ax

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Returns the curves of the training as RecBole wrote them: (epoch, value) by name."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self.folder / "tensorboard")).Reload()
        names = events.Tags()["scalars"]
        curves = {
            name: {event.step: float(event.value) for event in events.Scalars(name)}
            for name in (_LOSS, _SCORE)
            if name in names
        }  # of an epoch that a resumed run did again, the last value
        return {name: sorted(curve.items()) for name, curve in curves.items() if curve}


def _axes(ax: "Axes | None", projection: str | None = None) -> "Axes":
    return _pyplot().figure().add_subplot(projection=projection) if ax is None else ax


def _pyplot():
    return require("matplotlib.pyplot", "matplotlib", "a plot", extra="plots")
