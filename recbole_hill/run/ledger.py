"""Records of finished work: a line per piece of work, appended, and never lost to a kill."""

from pathlib import Path

from recbole_hill.run.jsonl import append_record, read_records

#: Names in a study's folder: its description, the ledger of its cells, and the folder of runs.
STUDY, CELLS, RUNS = "study.json", "cells.jsonl", "runs"
#: How a piece of work ended; ASHA stops a trial of a sweep early.
DONE, STOPPED, FAILED = "done", "stopped", "failed"


class Ledger:
    """A file of records on finished work, each with a ``status``.

    Several processes may append to one ledger. A piece of work that is done again gets another
    record, and its last record counts.

    Args:
        file: The file, such as a study's ``cells.jsonl`` or a sweep's ``trials.jsonl``.
        key: The field that names a piece of work.
    """

    def __init__(self, file: str | Path, key: str):
        self.file, self.key = Path(file), key

    def records(self) -> dict[str, dict]:
        """Reads the last record of each piece of work."""
        return read_records(self.file, self.key)

    def append(self, record: dict) -> None:
        """Adds a record, which is on the disk when this returns."""
        append_record(self.file, record)

    def with_status(self, status: str) -> list[dict]:
        """Returns the records of one status."""
        return [record for record in self.records().values() if record["status"] == status]
