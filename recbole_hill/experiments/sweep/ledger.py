"""What became of every trial: one JSON line each, appended as trials end."""

from pathlib import Path

from recbole_hill.run.jsonl import append_record, read_records

DONE, STOPPED, FAILED = "done", "stopped", "failed"


class Ledger:
    """The trials of a sweep that have ended, as kept in ``trials.jsonl``.

    A line holds ``trial`` (its number), ``id``, ``status`` (done, stopped by ASHA, or failed),
    ``score`` (best validation), ``epochs``, ``seconds``, ``error`` and ``settings``.

    Args:
        file: Where.
    """

    def __init__(self, file: str | Path):
        self.file = Path(file)
        self.records = read_records(self.file, "id")

    def append(self, record: dict) -> None:
        """Adds a trial that has ended, on the disk before it returns."""
        append_record(self.file, record)
        self.records[record["id"]] = record

    def best(self, bigger: bool) -> dict | None:
        """Returns the finished trial of the best validation score, the earliest of equals."""
        done = sorted(self._of(DONE), key=lambda record: record["trial"])
        if not done:
            return None
        return (max if bigger else min)(done, key=lambda record: record["score"])

    def count(self, status: str) -> int:
        """Returns how many trials ended so."""
        return len(self._of(status))

    def _of(self, status: str) -> list[dict]:
        return [record for record in self.records.values() if record["status"] == status]
