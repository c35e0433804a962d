"""Hooks of the fork server: they note a command's writes, or have one of them fail."""

import errno
import os
import signal


def note_writes(log: str) -> None:
    """Hook: notes every ``fsync`` and ``replace``, which are a file's last steps to the disk."""

    def note(call: str, *_) -> None:
        with open(log, "a") as file:
            file.write(f"{call}\n")

    _wrap(note)


def fail_at(number: int, way: str) -> None:
    """Hook: the write of this number fails in this way."""
    calls = iter(range(1 << 62))

    def fail(call: str, *arguments) -> None:
        if next(calls) != number:
            return
        if way == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if way == "torn":
            os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
        if way == "after":
            _REPLACE(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    _wrap(fail)


_FSYNC, _REPLACE = os.fsync, os.replace


def _wrap(before) -> None:
    """Has ``before`` called ahead of every ``os.fsync`` and ``os.replace``."""

    def fsync(handle):
        before("fsync", handle)
        _FSYNC(handle)

    def replace(source, target):
        before("replace", source, target)
        _REPLACE(source, target)

    os.fsync, os.replace = fsync, replace
