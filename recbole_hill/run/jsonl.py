"""Files of records, a JSON object a line.

Several processes may add records to one file, and each of them may be killed while it writes.
"""

import hashlib
import json
import os
import warnings
from pathlib import Path

from filelock import FileLock


def append_record(file: str | Path, record: dict) -> None:
    """Adds a record as one line that is on the disk when this returns.

    Args:
        file: The file of records; its folder is created if needed. A last line that a kill cut off
            is ended first.
        record: Plain data.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record) + "\n"
    with FileLock(f"{file}.lock"), open(file, "ab+") as opened:
        if opened.seek(0, os.SEEK_END):
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                line = "\n" + line
        opened.write(line.encode())
        opened.flush()
        os.fsync(opened.fileno())


def read_records(file: str | Path, key: str) -> dict[str, dict]:
    """Reads the last record of each key; an absent file has none.

    A line that a kill cut off is no whole record. A warning names the line, and the records go
    without it: its work is done again.

    Args:
        file: A file that :func:`append_record` wrote.
        key: The field that names a record.

    Returns:
        The records by that field, in the order in which their last lines were written.
    """
    file, records = Path(file), {}
    for number, line in enumerate(
        file.read_text(encoding="utf-8").splitlines() if file.exists() else (), start=1
    ):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            records.pop(record[key], None)  # so that it stands where its last line does
            records[record[key]] = record
        except (json.JSONDecodeError, KeyError, TypeError):
            warnings.warn(f"{file}, line {number}: not a whole record; left out", stacklevel=2)
    return records


def short_id(value) -> str:
    """Returns twelve digits of the hash of plain data; the order of keys does not change them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
