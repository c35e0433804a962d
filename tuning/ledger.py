"""What became of every trial: one JSON line each, appended as trials end."""

import json
import os
from pathlib import Path

from recbole_hill.files import atomic_path

DONE, STOPPED, FAILED = "done", "stopped", "failed"


class Ledger:
    """The trials of a sweep that have ended, as kept in ``trials.jsonl``.

    A line holds ``trial`` (its number), ``id``, ``status`` (done, stopped by ASHA, or failed),
    ``score`` (best validation), ``epochs``, ``seconds``, ``error`` and ``settings``.

    Args:
        file: Where; a line that a kill left half written is dropped.
    """

    def __init__(self, file: str | Path):
        self.file = Path(file)
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        self.records: dict[str, dict] = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                self.records[record["id"]] = record
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{self.file}, line {number} is no trial: {error!r}") from error
        if whole != text:
            with atomic_path(self.file) as temporary:
                temporary.write_text(whole, encoding="utf-8")

    def append(self, record: dict) -> None:
        """Adds a trial that has ended, on the disk before it returns."""
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
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
