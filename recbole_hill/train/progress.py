"""What a run says while it trains: a line per epoch in its log, a record per epoch in a file."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from recbole_hill.config.units import duration
from recbole_hill.run.jsonl import read_lines

#: File with a record per epoch; an epoch that was trained again after a kill has two.
EPOCHS = "epochs.jsonl"
#: The stage in which the model itself is trained.
_FIRST = "backbone"


@dataclass(frozen=True)
class Epoch:
    """One epoch that has ended.

    Attributes:
        stage: The stage that it belongs to.
        number: Its number in the stage, from 1.
        of: The most epochs that the stage may have.
        loss: Mean loss of a batch; None for a model that is fitted without a loss.
        seconds: Seconds of training, without validation.
        metrics: Metrics on the validation set; empty without a validation.
        score: Value of ``valid_metric`` on the validation set; None without a validation.
        best: Best score of the stage so far, including this one.
    """

    stage: str
    number: int
    of: int
    loss: float | None
    seconds: float
    metrics: dict[str, float]
    score: float | None = None
    best: float | None = None

    def record(self) -> dict:
        """Returns the epoch as plain data."""
        return asdict(self)

    def line(self, valid_metric: str, left: float) -> str:
        """Returns the epoch as one line.

        Args:
            valid_metric: Name of the metric of the score.
            left: Seconds that the rest of the stage takes at most.
        """
        stage = "" if self.stage == _FIRST else f"{self.stage}, "
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        if self.score is not None:
            best = "the best so far" if self.score == self.best else f"best {self.best:.4f}"
            parts.append(f"validation {valid_metric} {self.score:.4f} ({best})")
        parts.append(f"{self.seconds:.1f} s")
        if self.number < self.of:
            parts.append(f"at most {duration(left)} left")
        return f"{stage}epoch {self.number} of {self.of}: {', '.join(parts)}"


def epochs_of(folder: str | Path, stage: str = _FIRST) -> Iterable[dict]:
    """Returns the records of a stage's epochs in order, each epoch once.

    Args:
        folder: The run's folder.
        stage: The stage.
    """
    read = read_lines(Path(folder) / EPOCHS)
    read.warn()
    last = {record["number"]: record for record in read.kept if record["stage"] == stage}
    return [last[number] for number in sorted(last)]
