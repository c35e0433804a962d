"""A finished run in a program: its numbers, its lists, its explanations and its pictures."""

from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recbole_hill.api.quiet import in_python, quietly, shown_path
from recbole_hill.report.seeds import read_rows
from recbole_hill.run.folder import read_config, served_weights
from recbole_hill.serve.open_run import open_run
from recbole_hill.serve.served_run import ServedRun

if TYPE_CHECKING:
    from recbole_hill.api.plots import RunPlots
    from recbole_hill.index.hierarchy import HierarchicalIndex


class Explanation(str):
    """Text of several lines, shown as it is."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self)}</pre>"


class Run:
    """A finished run.

    Args:
        folder: Its folder. It serves from any working folder, and without its data set.

    Raises:
        FileNotFoundError: If the folder is not a run's folder, or the run has not finished.
    """

    def __init__(self, folder: str | Path):
        #: The run's folder.
        self.folder = Path(folder).absolute()
        #: Every setting of the run.
        self.settings: dict = read_config(self.folder)
        served_weights(self.folder)  # refuses a run that has not finished
        #: A record per arm (compared variant of the run), as ``rows.jsonl`` holds them.
        self.records: list[dict] = read_rows([self.folder])

    @property
    def name(self) -> str:
        """The model's name."""
        return self.served["model"]

    @property
    def served(self) -> dict:
        """The record of the arm that the run serves."""
        return self.records[-1]

    @property
    def metrics(self) -> dict[str, float]:
        """The test metrics of the arm that the run serves, such as ``recall@20``."""
        return dict(self.served["metrics"])

    @property
    def warnings(self) -> list[str]:
        """What the run's outcome warns of, each with what to try; shown with the run."""
        return [in_python(warning) for warning in self.served.get("warnings", ())]

    @property
    def rows(self) -> pd.DataFrame:
        """The test metrics of all arms, a row each: ``arm`` and a column per metric."""
        return pd.DataFrame([{"arm": row["arm"], **row["metrics"]} for row in self.records])

    def per_user(self) -> pd.DataFrame:
        """Returns every test user's part in the metrics of the served arm.

        Returns:
            A column per metric that is a mean over users, indexed by the external id ``user``.
        """
        from recbole_hill.evaluation.per_user import read_per_user

        return read_per_user(self.folder, self.served["arm"])

    def recommend(
        self,
        users: str | int | Sequence[str | int],
        k: int = 10,
        *,
        retrieval: str | None = None,
        beam_width: int | Sequence[int] | str | None = None,
        node_score: str | None = None,
    ) -> pd.DataFrame:
        """Returns the users' best unseen items.

        Args:
            users: External user ids; a text or a number is one user.
            k: Items per user. A user with fewer unseen items gets fewer.
            retrieval: ``exact`` | ``beam`` | ``faiss``; None: the run's setting.
            beam_width: Nodes kept per depth by ``beam`` and ``faiss``, finest depth first; None:
                the run's setting.
            node_score: ``mean`` | ``best``, by which nodes are kept; None: the run's setting.

        Returns:
            Columns ``user``, ``rank`` (from 1), ``item`` and ``score``, a row per listed item.

        Raises:
            ValueError: If a user is unknown, or an argument does not fit.
        """
        one = isinstance(users, str) or not hasattr(users, "__len__")
        names = [str(user) for user in ([users] if one else users)]
        search = {"retrieval": retrieval, "beam_width": beam_width, "node_score": node_score}
        with quietly():
            lists = self._served.recommend(names, k, **search)
        rows = [
            (user, rank, item, score)
            for user, listed in zip(names, lists, strict=True)
            for rank, (item, score) in enumerate(listed, start=1)
        ]
        return pd.DataFrame(rows, columns=["user", "rank", "item", "score"])

    def explain(self, user: str | int, k: int = 5) -> Explanation:
        """Returns a user's path through the index, and to the recommended items.

        Args:
            user: External user id.
            k: Nodes per depth, and items.

        Raises:
            ValueError: If the run has no index, or the user is unknown.
        """
        with quietly():
            return Explanation(self._served.explain(str(user), k))

    @property
    def users(self) -> np.ndarray:
        """The external ids of all users, shape (U,)."""
        return self._served.user_tokens

    @property
    def items(self) -> np.ndarray:
        """The external ids of all items, shape (I,)."""
        return self._served.item_tokens

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Vectors of :attr:`users` and :attr:`items`, (U, D) and (I, D); a score is a product.

        None for a model whose scores are no inner products.
        """
        return self._served.arrays

    @property
    def index(self) -> "HierarchicalIndex | None":
        """The index over :attr:`items`; None for a model without one."""
        return self._served.index

    @property
    def plot(self) -> "RunPlots":
        """Pictures of the run: ``plot.training()`` and ``plot.index()``."""
        from recbole_hill.api.plots import RunPlots

        return RunPlots(self.folder)

    @cached_property
    def _served(self) -> ServedRun:
        with quietly():
            return open_run(self.folder)

    def __repr__(self) -> str:
        row = self.served
        shown = ", ".join(f"{name} {value:.4f}" for name, value in row["metrics"].items())
        return (
            f"Run({row['arm']} on {row['dataset']}, {row['protocol']}, seed {row['seed']}: {shown}"
            f"; {shown_path(self.folder)})"
            + "".join(f"\nwarning: {warning}" for warning in self.warnings)
        )

    def _repr_html_(self) -> str:
        row = {key: escape(str(value)) for key, value in self.served.items()}
        stamp = " <b>(test-selected)</b>" if self.served["test_selected"] else ""
        about = f"{row['model']} on {row['dataset']}, {row['protocol']}{stamp}, seed {row['seed']}"
        table = self.rows.to_html(index=False, float_format="{:.4f}".format, border=0)
        warnings = "".join(f"<p>warning: {escape(warning)}</p>" for warning in self.warnings)
        return f"<p>{about}<br><code>{escape(shown_path(self.folder))}</code></p>{table}{warnings}"


def load(folder: str | Path) -> Run:
    """Opens a finished run by its folder.

    Raises:
        FileNotFoundError: If the folder is not a run's folder, or the run has not finished.
    """
    return Run(folder)
