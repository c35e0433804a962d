"""Runs a command line in a folder of its own, and judges how it ended.

Right is the asked outcome with exit status 0, or a refusal: exit status 1 (argparse: 2) and exactly
one line ``error: ...``. Everything else is a column of faults in the table that :class:`Tally`
prints.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

FUZZ = Path(__file__).resolve().parent
CHECKOUT = FUZZ.parents[1]

#: Commands that start processes of their own.
_WITH_OTHERS = (["sweep"], ["table"])
SURVIVED, REFUSED = "survived", "refused"
#: What must not be; the columns of the table.
FAULTS = (
    *("lost", "raw error", "unnamed", "traceback", "hang", "crash", "left files", "wrong"),
    "payload ran",
)


@dataclass(frozen=True)
class Ended:
    """How a command line ended.

    Attributes:
        status: Exit status; negative: the signal.
        ended: ``itself`` | ``killed`` (as asked) | ``limit`` (it hung).
        out, err: What it printed.
    """

    status: int
    seconds: float
    ended: str
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error line, without ``error: ``."""
        return next(iter(self.errors), "")

    @property
    def errors(self) -> list[str]:
        """Its lines ``error: ...``, of ours or of argparse."""
        lines = [line.removeprefix("run_recbole_hill.py").lstrip() for line in self.err.split("\n")]
        return [line.partition("error: ")[2] for line in lines if _is_error(line)]


def _is_error(line: str) -> bool:
    """Whether it is ``error: ...``, or argparse's ``COMMAND: error: ...``."""
    before, error, _ = line.partition("error: ")
    return bool(error) and (not before or (before.endswith(": ") and " " not in before[:-2]))


class Server:
    """A fork server (:mod:`fork_server`) in a process of its own."""

    def __init__(self):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(FUZZ)]),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONWARNINGS": "ignore::DeprecationWarning,ignore::FutureWarning",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(FUZZ / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
        )
        self._lock = threading.Lock()
        while (line := self._process.stdout.readline()) and line != "ready\n":
            pass  # what a library prints when it is imported

    def run(
        self,
        argv: list[str],
        place: Path,
        *,
        limit: float = 20,
        kill_after: float | None = None,
        group: bool = True,
        hook: list | None = None,
    ) -> Ended:
        """Runs a command line in ``place/work``.

        Args:
            argv: Arguments after the program's name.
            place: Folder of the case.
            limit: Seconds of CPU time after which it counts as a hang.
            kill_after: Seconds until it is killed.
            group: Whether what it started is killed with it.
            hook: ``[module, function, arguments]``, called in the process before the command.
        """
        request = {"argv": argv, "cwd": str(place / "work"), "limit": limit, "hook": hook}
        request |= {"kill_after": kill_after, "group": group, "alone": argv[:1] not in _WITH_OTHERS}
        printed = place / "out.txt", place / "err.txt"
        for file in printed:  # a kill may come before the process makes them
            file.write_text("")
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        out, err = (file.read_text(errors="replace") for file in printed)
        return Ended(**answer, out=out, err=err)

    def close(self) -> None:
        """Ends the server."""
        self._process.stdin.close()
        self._process.wait()


class Servers:
    """Several fork servers, for cases side by side."""

    def __init__(self, count: int = 1):
        with ThreadPoolExecutor(count) as pool:
            self._all = list(pool.map(lambda _: Server(), range(count)))
        self._free: Queue = Queue()
        for server in self._all:
            self._free.put(server)

    def run(self, argv: list[str], place: Path, **options) -> Ended:
        """See :meth:`Server.run`; waits until a server is free."""
        server = self._free.get()
        try:
            return server.run(argv, place, **options)
        finally:
            self._free.put(server)

    def map(self, function, cases) -> list:
        """Calls the function with every case, as many side by side as there are servers."""
        with ThreadPoolExecutor(len(self._all)) as pool:
            return list(pool.map(function, cases))

    def close(self) -> None:
        """Ends the servers."""
        for server in self._all:
            server.close()


@contextlib.contextmanager
def case_folder(root: Path, name: str, template: Path | None = None) -> Iterator[Path]:
    """Makes ``root/name/work``, a copy of the template, and removes it after the block."""
    place = root / name
    if template is None:
        (place / "work").mkdir(parents=True)
    else:
        shutil.copytree(template, place / "work", symlinks=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def files_below(folder: Path) -> dict[str, tuple]:
    """Returns every file and folder below a folder, with what tells whether a file was changed."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        found[str(path.relative_to(folder))] = (
            (about.st_size, about.st_mtime_ns) if not path.is_dir() else ()
        )
    return found


def fault_of(ended: Ended) -> str | None:
    """Returns the fault of how a command line ended, whatever it was asked; None without."""
    if ended.ended == "limit":
        return "hang"
    if ended.status < 0:
        return "crash"
    if "Traceback (most recent call last)" in ended.err + ended.out:
        return "traceback"
    if ended.status not in (0, 1, 2):
        return "crash"
    if ended.status:
        if "(--debug shows where)" in ended.err or len(ended.errors) != 1 or not ended.error:
            return "raw error"
        if "Error: " in ended.error and ended.error.split(":")[0].endswith("Error"):
            return "raw error"
    return None


@dataclass
class Tally:
    """Counts the verdicts by kind of case, and keeps the faults."""

    counts: dict[str, Counter] = field(default_factory=dict)
    faults: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, kind: str, verdict: str, note: str) -> None:
        """Counts a case."""
        self.counts.setdefault(kind, Counter())[verdict] += 1
        if verdict in FAULTS:
            self.faults.append((kind, verdict, note))

    def table(self) -> str:
        """Returns a line per kind, as Markdown."""
        head = ["kind", "tried", "survived", "refused in one line", *FAULTS]
        lines = [" | ".join(head), " | ".join("---" for _ in head)]
        for kind, counts in self.counts.items():
            numbers = [counts.total(), *(counts[name] for name in (SURVIVED, REFUSED, *FAULTS))]
            lines.append(" | ".join([kind, *map(str, numbers)]))
        return "\n".join(lines)

    def require_no_fault(self) -> None:
        """Prints the table, and fails if any count of a fault is not zero."""
        print("\n" + self.table())
        notes = "\n".join(" | ".join(fault) for fault in self.faults)
        assert not self.faults, f"{len(self.faults)} faults\n{self.table()}\n{notes}"
