"""Lists that any other library made, judged as the runs of this one are."""

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from recbole_hill.api.dataset import Dataset, as_dataset, config_of
from recbole_hill.api.quiet import quietly
from recbole_hill.api.run import Run

if TYPE_CHECKING:
    import pandas as pd

_FIRST = {"rank": True, "score": False}


@dataclass(frozen=True)
class Evaluation:
    """How lists did on a test set.

    Attributes:
        record: The row of a table, as a run has it in ``rows.jsonl``.
        table: Every test user's part in the metrics, with the columns ``arm`` and ``user``.
        notes: What was left out of the lists, and who has none, a sentence each.
    """

    record: dict
    table: "pd.DataFrame" = field(repr=False)
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.record["model"]

    @property
    def metrics(self) -> dict[str, float]:
        """The test metrics, such as ``recall@20``."""
        return dict(self.record["metrics"])

    def per_user(self) -> "pd.DataFrame":
        """Returns every test user's part in the metrics, a column each, by external id ``user``."""
        return self.table.drop(columns="arm").set_index("user")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        first = f"Evaluation({self.name} on {self.record['dataset']}: {shown})"
        return "\n".join([first, *self.notes])

    def _repr_html_(self) -> str:
        import pandas as pd

        table = pd.DataFrame([{"": self.name, **self.metrics}])
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return table.to_html(index=False, float_format="{:.4f}".format) + f"<ul>{notes}</ul>"


def evaluate(
    lists: "pd.DataFrame",
    data: Dataset | str | Run,
    *,
    name: str = "mine",
    split: str | None = None,
    protocol: str = "holdout",
    seed: int = 2020,
    **settings,
) -> Evaluation:
    """Judges ranked lists on the test set, by the metrics of the runs.

    Every test user counts; one without a list has no hits. A user's items in train and validation,
    and items that the data set does not have, are left out of his list, and the items behind them
    move up: as if the other library had been told to leave them out. The notes say how many.

    Args:
        lists: A row per listed item: ``user``, ``item``, and ``rank`` (1 is the best) or ``score``
            (the largest is the best). Lists at least as long as the longest of ``topk``.
        data: The dataset, the name of one in ``dataset/``, or a run: then the same data, split and
            metrics as the run's.
        name: The lists' name in tables.
        split, protocol: See :func:`recbole_hill.fit`; not with a run.
        seed: The seed that the other library's model had, for tests that pair seeds.
        **settings: Settings of data and evaluation, such as ``topk``; not with a run.

    Raises:
        ValueError: If a column is missing, a setting does not fit, or no user is a test user.
    """
    ranked, repeated = _ranked(lists)
    with quietly():
        from recbole_hill.config.config import plain_settings
        from recbole_hill.data.splits import load_data
        from recbole_hill.evaluation.lists import judge
        from recbole_hill.evaluation.per_user import user_table
        from recbole_hill.run.provenance import provenance

        if isinstance(data, Run):
            if given := sorted({**settings, **({} if split is None else {"split": split})}):
                raise ValueError(f"lists are judged as the run was: {given[0]} is the run's own")
            config = _config_of_run(data)
        else:
            config = config_of(as_dataset(data), split, {"protocol": protocol, **settings})
        loaded = load_data(config)
        judged = judge(ranked, config, loaded)
    common = {"dataset": config["dataset"], "data_sha256": loaded.sha256, **provenance(config)}
    record = {
        "model": name,
        **common,
        "seed": seed,
        "settings": plain_settings(config),
        "arm": name,
        "metrics": judged.metrics,
        "stages": {},
    }
    table = user_table(name, loaded.dataset, judged.users, judged.values)
    return Evaluation(record, table, (*repeated, *judged.notes))


def _ranked(lists: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """Returns lists with the columns ``user``, ``item`` and ``place``, and a note on repeats."""
    columns = [str(column) for column in getattr(lists, "columns", ())]
    by = next((column for column in _FIRST if column in columns), None)
    if by is None or not {"user", "item"} <= set(columns):
        raise ValueError(
            f"lists must be a data frame with the columns user, item, and rank or score; got "
            f"{', '.join(columns) or type(lists).__name__}"
        )
    if lists.empty:
        raise ValueError("lists must have at least one row, got none")
    if not lists[by].notna().all():
        raise ValueError(f"column {by} must have a number in every row, and some have none")
    ordered = lists.sort_values(by, ascending=_FIRST[by], kind="stable")
    ordered = ordered[["user", "item"]].astype(str).assign(place=range(len(ordered)))
    repeated = ordered.duplicated(["user", "item"])
    notes = [f"{int(repeated.sum()):,} rows repeat an item of a list: the best place counts."]
    return ordered[~repeated].reset_index(drop=True), notes if repeated.any() else []


def _config_of_run(run: Run):
    from recbole_hill.model.finished import config_of

    return config_of(run.folder)
