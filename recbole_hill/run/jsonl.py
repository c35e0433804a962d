"""Files of records, a JSON object a line: several processes may add to one, any may die at it."""

import fcntl
import hashlib
import json
import os
import warnings
from pathlib import Path


def append_record(file: str | Path, record: dict) -> None:
    """Adds a record as one line that is on the disk when this returns.

    Args:
        file: Where; its folder is created if needed. A last line that a kill cut off is ended.
        record: Plain data.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(record) + "\n"
    with open(file, "ab+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        if opened.seek(0, os.SEEK_END):
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                line = "\n" + line
        opened.write(line.encode())
        opened.flush()
        os.fsync(opened.fileno())


def read_records(file: str | Path, key: str) -> dict[str, dict]:
    """Reads the last record of each key; an absent file has none.

    A line that is no whole record, because a kill cut it off, is left out with a warning that
    names it: what it was of is done again.

    Args:
        file: As :func:`append_record` wrote it.
        key: The field that names a record.
    """
    file, found = Path(file), {}
    for number, line in enumerate(file.read_text().splitlines() if file.exists() else (), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            found.pop(record[key], None)  # the order is that of the last records
            found[record[key]] = record
        except (json.JSONDecodeError, KeyError, TypeError):
            warnings.warn(f"{file}, line {number}: not a whole record; left out", stacklevel=2)
    return found


def short_id(value) -> str:
    """Returns twelve digits of the hash of plain data, whatever the order of its mappings' keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
