"""Records of finished work: a line per piece of work, appended, and never lost to a kill."""

from collections.abc import Callable, Iterable
from pathlib import Path

from recbole_hill.checks import is_finite_number
from recbole_hill.run.jsonl import Records, append_record, read_lines
from recbole_hill.run.rows import row_fault

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
        fault: Returns what else is wrong with a record, or None.
    """

    def __init__(
        self, file: str | Path, key: str, fault: Callable[[dict], str | None] | None = None
    ):
        self.file, self.key, self._fault_of = Path(file), key, fault

    def read(self) -> Records:
        """Reads every whole line, also those of work that was done again later."""
        return read_lines(self.file, self._fault)

    def records(self) -> dict[str, dict]:
        """Reads the last record of each piece of work.

        A line that is cut off, changed or no record of this kind is left out, and a warning names
        the file and the line. Its work counts as not done.
        """
        read = self.read()
        read.warn()
        return self.last(read.kept)

    def last(self, records: Iterable[dict]) -> dict[str, dict]:
        """Returns the last of the records of each piece of work, in the order of these."""
        last: dict[str, dict] = {}
        for record in records:
            last.pop(record[self.key], None)  # so that it stands where its last line does
            last[record[self.key]] = record
        return last

    def append(self, record: dict) -> None:
        """Adds a record, which is on the disk when this returns."""
        append_record(self.file, record)

    def with_status(self, status: str) -> list[dict]:
        """Returns the records of one status."""
        return [record for record in self.records().values() if record["status"] == status]

    def _fault(self, record: dict) -> str | None:
        if not isinstance(record.get(self.key), str) or not isinstance(record.get("status"), str):
            return "not a whole record"
        return self._fault_of(record) if self._fault_of else None


def ledger_of(study: str | Path) -> Ledger:
    """Returns the ledger of a study's finished cells.

    A record holds ``cell`` (the cell's id), ``row``, ``seed``, ``given`` (the settings that the
    command gave over the table's own), ``status`` (done or failed), ``seconds``, ``run_dir`` and
    either ``rows`` (as the run left them) or ``error``.

    Args:
        study: The study's folder.
    """
    return Ledger(Path(study) / CELLS, "cell", cell_fault)


def cell_fault(cell: dict) -> str | None:
    """Returns what is wrong with a cell's record, or None."""
    if not isinstance(cell.get("row"), str):
        return f"row must be a text, got {cell.get('row')!r}"
    if not isinstance(cell.get("seed"), int):
        return f"seed must be a whole number, got {cell.get('seed')!r}"
    if not is_finite_number(cell.get("seconds", 0)):
        return f"seconds must be a number, got {cell['seconds']!r}"
    if not isinstance(cell.get("run_dir") or "", str):
        return f"run_dir must be a text, got {cell['run_dir']!r}"
    if not isinstance(cell.get("given", {}), dict):
        return f"given must be settings, got {cell['given']!r}"
    if cell["status"] != DONE:
        return None
    if not isinstance(cell.get("rows"), list) or not cell["rows"]:
        return "a finished cell without rows"
    return next(filter(None, map(row_fault, cell["rows"])), None)


def trial_fault(trial: dict) -> str | None:
    """Returns what is wrong with the record of a sweep's trial, or None."""
    if not isinstance(trial.get("trial"), int) or not isinstance(trial.get("settings"), dict):
        return "not a whole record"
    for key in ("score", "epochs", "seconds"):
        if trial.get(key) is not None and not is_finite_number(trial[key]):
            return f"{key} must be a number, got {trial[key]!r}"
    if trial["status"] == DONE and trial.get("score") is None:
        return "a finished trial without a score"
    return None
