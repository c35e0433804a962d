"""Sends a run to MLflow and to Weights & Biases, where the settings ask for it.

Both get the run's settings, the losses and validations of each epoch, and the test metrics of each
arm (compared variant of the run), with tags of protocol, commit and data. Nothing else in a run
depends on them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_hill.host.optional import require
from recbole_hill.run.folder import HOLDOUT
from recbole_hill.run.provenance import commit

#: The longest text of a setting that MLflow takes.
_LONGEST = 6000


def require_trackers(config) -> None:
    """Refuses a tracker whose library is not installed, before anything is loaded.

    Raises:
        ImportError: Names the setting, the library and the extra.
    """
    for setting, library in (("log_mlflow", "mlflow"), ("log_wandb", "wandb")):
        if config[setting]:
            require(library, library, setting, library)


class MlflowTracker:
    """One run in MLflow; the experiment is the dataset.

    Args:
        uri: The tracking server, or the folder or database of a local store.
        name: The run's name.
        dataset: The dataset's name.
        settings: The run's settings.
        tags: The run's tags.
    """

    def __init__(self, uri: str, name: str, dataset: str, settings: Mapping, tags: Mapping):
        import mlflow

        self._client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(dataset)
        number = experiment.experiment_id if experiment else self._client.create_experiment(dataset)
        run = self._client.create_run(number, run_name=name, tags=dict(tags))
        self._run = run.info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, str(value)[:_LONGEST])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Sends values of one epoch."""
        for key, value in values.items():
            self._client.log_metric(self._run, _mlflow_name(key), value, step=step)

    def finish(self, values: Mapping[str, float]) -> None:
        """Sends the final values, and ends the run."""
        for key, value in values.items():
            self._client.log_metric(self._run, _mlflow_name(key), value)
        self._client.set_terminated(self._run)

    def fail(self) -> None:
        """Ends a run that failed or was stopped."""
        self._client.set_terminated(self._run, status="FAILED")


class WandbTracker:
    """One run in Weights & Biases; ``WANDB_MODE=offline`` keeps it on the disk.

    Args:
        project: The project.
        name: The run's name.
        folder: The folder for its files.
        settings: The run's settings.
        tags: The run's tags, as ``key: value``.
    """

    def __init__(self, project: str, name: str, folder: Path, settings: Mapping, tags: Mapping):
        import wandb

        texts = [f"{key}: {value}"[:64] for key, value in tags.items()]
        config = {**settings, **tags}
        self._run = wandb.init(
            project=project, name=name, dir=str(folder), config=config, tags=texts
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Sends values of one epoch, with its number as ``epoch``: stages count from 1 anew."""
        self._run.log({**values, "epoch": step})

    def finish(self, values: Mapping[str, float]) -> None:
        """Sends the final values, and ends the run."""
        self._run.summary.update(dict(values))
        self._run.finish()

    def fail(self) -> None:
        """Ends a run that failed or was stopped."""
        self._run.finish(exit_code=1)


class Trackers:
    """Every tracker of a run; none of them is the normal case."""

    def __init__(self, trackers: Sequence["MlflowTracker | WandbTracker"] = ()):
        self._open = list(trackers)

    @classmethod
    def of(cls, config, settings: Mapping, sha256: str | None) -> "Trackers":
        """Opens the trackers that a run's settings ask for.

        Args:
            config: The run's configuration; its folder exists.
            settings: The run's settings, as it keeps them.
            sha256: Hash of the run's data.

        Raises:
            ImportError: As :func:`require_trackers`.
        """
        require_trackers(config)
        folder = Path(config["run_dir"])
        inner = folder.name == HOLDOUT
        name = f"{folder.parent.name}/{HOLDOUT}" if inner else folder.name
        tags = {"model": config["model"], "dataset": config["dataset"]}
        tags |= {"protocol": config["protocol"], "commit": str(commit()), "data": str(sha256)}
        trackers = []
        if uri := config["log_mlflow"]:
            trackers.append(MlflowTracker(uri, name, config["dataset"], settings, tags))
        if config["log_wandb"]:
            project = config["wandb_project"]
            trackers.append(WandbTracker(project, name, folder, settings, tags))
        return cls(trackers)

    def epoch(self, record: Mapping) -> None:
        """Sends the loss and the validation of an epoch, under the name of its stage."""
        stage = record["stage"]
        values = {f"{stage}/loss": record["loss"], f"{stage}/seconds": record["seconds"]}
        values |= {f"{stage}/validation/{name}": v for name, v in record["metrics"].items()}
        if record["score"] is not None:
            values[f"{stage}/validation/score"] = record["score"]
        known = {key: value for key, value in values.items() if value is not None}
        for tracker in self._open:
            tracker.log(known, record["number"])

    def finish(self, rows: Sequence[Mapping]) -> None:
        """Sends the test metrics of every arm, and ends the trackers."""
        values = {
            f"test/{row['arm']}/{name}": value
            for row in rows
            for name, value in row["metrics"].items()
        }
        while self._open:
            self._open.pop().finish(values)

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Ends the trackers that are still open; an error marks the run as failed."""
        while self._open:
            tracker = self._open.pop()
            tracker.finish({}) if kind is None else tracker.fail()


def _mlflow_name(key: str) -> str:
    """Returns a metric's name without ``@`` and ``+``, which MLflow does not take."""
    return key.replace("@", "_at_").replace("+", "and")
