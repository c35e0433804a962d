"""Models side by side on one dataset: a study whose rows the program names."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_hill.api.dataset import Dataset, as_dataset
from recbole_hill.api.evaluation import Evaluation
from recbole_hill.api.models import name_of, require_importable
from recbole_hill.api.quiet import quietly, shown_path
from recbole_hill.api.runs import Runs
from recbole_hill.checks import integer
from recbole_hill.evaluation.per_user import write_per_user
from recbole_hill.experiments.study.estimate import History, past_rows
from recbole_hill.experiments.study.folder import run_dir
from recbole_hill.experiments.study.paper_table import PaperTable, Row
from recbole_hill.experiments.study.plan import Cell, plan
from recbole_hill.experiments.study.plan import Study as Planned
from recbole_hill.experiments.study.run_cell import run_cell
from recbole_hill.experiments.study.runner import description, run_studies
from recbole_hill.experiments.study.workers import LocalWorkers
from recbole_hill.report.cells import Study, study_of
from recbole_hill.report.document import Number, Table
from recbole_hill.report.study import study_table
from recbole_hill.report.write import write_tables
from recbole_hill.run.jsonl import short_id
from recbole_hill.run.ledger import DONE, ledger_of

if TYPE_CHECKING:
    import pandas as pd

_FIRST_SEED = 2020
#: The metrics that a table shows of those that are measured.
_SHOWN = ("recall", "ndcg")


class Comparison:
    """Finished cells of a study: some models, some seeds.

    Args:
        study: The study that was run.

    Attributes:
        folder: The study's folder.
    """

    def __init__(self, study: Planned):
        self.folder = study.folder
        self._planned = study
        self._evaluations: dict[tuple[str, int], dict] = {}

    def table(self) -> "pd.DataFrame":
        """Returns the test metrics.

        Returns:
            A row per model, indexed by name; per metric its mean over seeds, and in a column
            ``<metric> sd`` the sample standard deviation (NaN for one seed). A model that failed
            has NaN; :attr:`failures` says why.
        """
        import pandas as pd

        nan = float("nan")
        table, rows = self._table(None), {}
        for line in table.lines:
            row = rows[line.label] = {}
            for metric, number in zip(table.metrics, line.numbers, strict=True):
                measured = isinstance(number, Number)
                row[metric] = number.mean if measured else nan
                spread = number.deviation if measured else None
                row[f"{metric} sd"] = nan if spread is None else spread
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")

    def significance(self, reference: str | None = None) -> "pd.DataFrame":
        """Tests every row against one of them, paired over the test users.

        Args:
            reference: The row; None: the best that is no model with a backbone.

        Returns:
            See :func:`recbole_hill.significance`; a row per model and metric.

        Raises:
            ValueError: If there is no such row.
        """
        import pandas as pd

        table = self._table(reference)
        rows = [
            {
                "model": line.label,
                "reference": table.reference,
                "metric": metric,
                "difference": number.users.mean_difference,
                "low": number.users.interval[0],
                "high": number.users.interval[1],
                "t_p": number.t_p,
                "wilcoxon_p": number.wilcoxon_p,
                "users": number.users.n,
            }
            for line in table.lines
            for metric, number in zip(table.metrics, line.numbers, strict=True)
            if isinstance(number, Number) and number.users is not None
        ]
        columns = ["model", "reference", "metric", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=[*columns, "t_p", "wilcoxon_p", "users"])

    def add(self, evaluation: Evaluation) -> "Comparison":
        """Puts an evaluation of other lists into the table, as a row under its name.

        Raises:
            ValueError: If a model has the name, or the evaluation is of other data.
        """
        if evaluation.name in {cell.row for cell in self._planned.cells}:
            raise ValueError(f"name {evaluation.name!r} is a model's of this comparison")
        for cell in self._study().done:
            ours, theirs = cell["rows"][0], evaluation.record
            for key in ("dataset", "data_sha256"):
                if ours[key] != theirs[key]:
                    raise ValueError(
                        f"{evaluation.name} was evaluated on other data: {key} is {theirs[key]!r}, "
                        f"here {ours[key]!r}"
                    )
        metrics, seed = evaluation.metrics, evaluation.record["seed"]
        folder = run_dir(self.folder, short_id([evaluation.name, seed, metrics]))
        folder.mkdir(parents=True, exist_ok=True)
        write_per_user(folder, [evaluation.table])
        cell = {
            "cell": folder.name,
            "row": evaluation.name,
            "seed": seed,
            "status": DONE,
            "run_dir": folder.relative_to(self.folder).as_posix(),
            "rows": [evaluation.record],
        }
        self._evaluations[evaluation.name, seed] = cell
        return self

    def report(self, reference: str | None = None) -> dict[str, Path]:
        """Writes ``table.md``, ``table.tex``, ``table.csv`` and ``index.html``.

        Args:
            reference: See :meth:`significance`.

        Returns:
            The files by format: ``markdown``, ``latex``, ``csv``, ``html``.
        """
        return write_tables(self._study(), self._table(reference))

    @cached_property
    def runs(self) -> Runs:
        """The finished runs by model (the row's name) and seed: ``runs["BPR", 2020].recommend()``.

        A run is opened when it is first asked for. Evaluations of other lists are no runs.
        """
        study = self._study()
        own = {cell.id for cell in self._planned.cells}
        done = [cell for cell in study.done if cell["cell"] in own]
        return Runs({(cell["row"], cell["seed"]): study.run_of(cell) for cell in done})

    @property
    def failures(self) -> dict[str, str]:
        """The error of each row that failed, by its name."""
        return {cell["row"]: str(cell["error"]) for cell in self._study().failed}

    def _study(self) -> Study:
        """Returns the cells of this comparison; the study's folder may hold others."""
        records = ledger_of(self.folder).records()
        cells = [cell.id for cell in self._planned.cells]
        own = [records[cell] for cell in dict.fromkeys(cells) if cell in records]
        return study_of(
            self.folder, description(self._planned), [*own, *self._evaluations.values()]
        )

    def _table(self, reference: str | None) -> Table:
        return study_table(self._study(), reference)

    def __repr__(self) -> str:
        lines = [str(self.table().round(4)), f"kept in {shown_path(self.folder)}"]
        return "\n".join([*lines, *(f"{row} failed: {why}" for row, why in self.failures.items())])

    def _repr_html_(self) -> str:
        return self.table().to_html(float_format="{:.4f}".format, border=0, na_rep="–")


def compare(
    models: Sequence[str | type] | Mapping[str, Mapping],
    data: Dataset | str,
    *,
    seeds: int | Sequence[int] = 3,
    jobs: int = 1,
    split: str | None = None,
    protocol: str = "holdout",
    folder: str | Path = "studies",
    verbose: bool = False,
    **settings,
) -> Comparison:
    """Trains and tests models with several seeds, each model and seed once.

    What is finished is kept in the study's folder, so that the same call goes on where a stopped
    one was, and a call with more models or seeds trains only those.

    Args:
        models: Names and classes. Or rows by name, each with its settings, ``model`` among them:
            ``{"wide": {"model": "HILL", "beam_width": 64}}``.
        data: The dataset, or the name of one in ``dataset/``.
        seeds: How many, from 2020 on; or the seeds.
        jobs: Runs side by side. With 1 they run in this process. With more, each is a process of
            its own, and a class must be a plugin's (``recbole_hill.plugins.load``).
        split, protocol: See :func:`recbole_hill.fit`.
        folder: Folder of all studies.
        verbose: Whether a line is shown for each finished model and seed.
        **settings: Settings of every row.

    Returns:
        The comparison. A model that failed is in :attr:`Comparison.failures`.

    Raises:
        ValueError: If a name or a setting does not fit. Nothing runs then.
    """
    data, jobs = as_dataset(data), integer("jobs", jobs)
    seeds, rows = _seeds(seeds), _rows(models)
    settings = {**settings, **data.settings, **({} if split is None else {"split": split})}
    with quietly():
        table = PaperTable(
            number="compare",
            title=f"Models on {data.name}",
            kind="comparison",
            rows=rows,
            definition={
                "title": f"Models on {data.name}",
                "kind": "comparison",
                "metrics": _metrics(rows[0], data.name, settings),
                "arms": [],
                "rows": {},
            },
        )
        study = plan(
            table, data.name, root=folder, protocol=protocol, seeds=seeds, settings=settings
        )
        workers = InThisProcess() if jobs == 1 else _processes(jobs, rows)
        run_studies([study], workers, History(past_rows([folder])), show=verbose)
    return Comparison(study)


class InThisProcess:
    """Runs a study's cells one after the other in this process, where a program's classes are."""

    slots = 1

    def fits(self, memory_mib: int, running_mib: int) -> bool:
        """Returns True: a cell runs alone."""
        return True

    def submit(self, study: Path, cell: Cell, memory_mib: int) -> Future:
        """Runs a cell to its end; the future has its record."""
        future: Future = Future()
        try:
            future.set_result(run_cell(study, cell, memory_mib=memory_mib, train=_train))
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self) -> None:
        """Does nothing: between two cells none is running."""

    def close(self) -> None:
        """Does nothing."""


def _train(cell: Cell, folder: Path, settings: dict | None) -> str | None:
    """Trains a cell in this process, and returns its error in one line."""
    from recbole_hill import pipeline

    try:
        if settings is None:
            pipeline.run(resume=str(folder), echo=False)
        else:
            own = {key: value for key, value in settings.items() if key != "threads"}
            pipeline.run(cell.model, cell.dataset, overrides=own, echo=False)
    except Exception as error:  # one model's fault must not cost the others
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _processes(jobs: int, rows: Sequence[Row]) -> LocalWorkers:
    """Returns workers for processes of their own, which must be able to import the models."""
    for row in rows:
        require_importable(row.model, f"jobs {jobs}", "jobs 1")
    return LocalWorkers(jobs, 1)


def _rows(models: Sequence[str | type] | Mapping[str, Mapping]) -> tuple[Row, ...]:
    if isinstance(models, (str, type)):
        models = [models]
    if not isinstance(models, Mapping):
        models = {name: {"model": name} for name in map(name_of, models)}
    if not models:
        raise ValueError("models must name at least one model, got none")
    rows = []
    for name, given in models.items():
        own = dict(given)
        if "model" not in own:
            raise ValueError(f"row {name!r} must say its model, got {own!r}")
        rows.append(Row(name, name_of(own.pop("model")), ({None: own},)))
    return tuple(rows)


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        return tuple(integer("seeds", seed, least=0) for seed in seeds)
    return tuple(range(_FIRST_SEED, _FIRST_SEED + integer("seeds", seeds)))


def _metrics(row: Row, dataset: str, settings: dict) -> list[str]:
    """Returns the metrics of the table.

    They are Recall and NDCG of the lists that validation judges. If validation judges by another
    metric, that one is first.
    """
    from recbole_hill.config.config import HillConfig

    config = HillConfig(row.model, dataset, None, {**row.settings_on(dataset), **settings})
    measured = [metric.lower() for metric in config["metrics"]]
    valid_metric = config["valid_metric"].lower()
    k = valid_metric.partition("@")[2]
    if not k:  # of predictions, not of lists
        return measured
    shown = [f"{metric}@{k}" for metric in _SHOWN if metric in measured]
    return shown if valid_metric in shown else [valid_metric, *shown]
