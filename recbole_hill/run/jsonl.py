"""Files of records, a JSON object a line.

Several processes may add records to one file, and each of them may be killed while it writes. Each
line carries a short hash of its record, so that a line that was edited later is found.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recbole_hill.run.files import locked, open_to_write
from recbole_hill.run.rows import row_fault

#: The key of a record's own hash in its line.
HASH = "hash"


def append_record(file: str | Path, record: dict) -> None:
    """Adds a record as one line that is on the disk when this returns.

    Args:
        file: The file of records; its folder is created if needed. A last line that a kill cut off
            is ended first.
        record: Plain data.

    Raises:
        ValueError: If the file is a symbolic link.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**record, HASH: short_id(record)}) + "\n"
    with locked(Path(f"{file}.lock")), open_to_write(file, "ab+") as opened:
        if opened.seek(0, os.SEEK_END):
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                line = "\n" + line
        opened.write(line.encode())
        opened.flush()
        os.fsync(opened.fileno())


@dataclass(frozen=True)
class Records:
    """What was read of a file of records.

    Attributes:
        file: The file.
        kept: The whole records, in order, without their hashes.
        faults: Why lines were left out, by number from 1; number 0 is the file itself.
    """

    file: Path
    kept: tuple[dict, ...]
    faults: dict[int, str]

    @property
    def left_out(self) -> str:
        """One line that names the file, the first line left out and how many more there are."""
        number, why = next(iter(self.faults.items()))
        where = f"{self.file}, line {number}" if number else f"{self.file}"
        more = len(self.faults) - 1
        others = f" (and {more} more line{'s' * (more > 1)} of the file)" if more else ""
        return f"{where}: {why}{others}"

    def warn(self) -> None:
        """Warns once if something was left out."""
        if self.faults:
            warnings.warn(f"{self.left_out}; left out", stacklevel=3)


def read_lines(file: str | Path, fault: Callable[[dict], str | None] | None = None) -> Records:
    """Reads the whole records of a file, and says what is left out; an absent file has none.

    Args:
        file: A file of records, or what stands in its place.
        fault: Returns what is wrong with a record, or None.
    """
    file, kept, faults = Path(file), [], {}
    if not os.path.lexists(file):
        return Records(file, (), {})
    if not file.is_file():
        return Records(file, (), {0: "not a file of records"})
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        return Records(file, (), {0: f"cannot be read ({error.strerror})"})
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):  # cut off by a kill, or no text at all
            record = None
        if not isinstance(record, dict):
            faults[number] = "not a whole record"
        elif record.pop(HASH, None) not in (None, short_id(record)):
            faults[number] = "changed after it was written"
        elif fault is not None and (why := fault(record)):
            faults[number] = why
        else:
            kept.append(record)
    return Records(file, tuple(kept), faults)


def rows_of(file: str | Path) -> list[dict]:
    """Reads a file of rows of results.

    Raises:
        ValueError: If a line is no row; the error names file and line.
    """
    read = read_lines(file, row_fault)
    if read.faults:
        number, why = next(iter(read.faults.items()))
        raise ValueError(f"{file}, line {number}: {why}" if number else f"{file}: {why}")
    return list(read.kept)


def short_id(value) -> str:
    """Returns twelve digits of the hash of plain data; the order of keys does not change them."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
