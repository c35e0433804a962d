"""Freed memory is used again."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from recbole_hill.host.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**24, dtype=np.float32)  # 64 MiB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc alone is told")
def test_arrays_live_in_the_memory_of_those_before_them():
    small_pages = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}  # huge ones hide what is counted
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True, env=small_pages
    )
    before, taken, after = done.stdout.split()
    assert taken == "True"
    assert int(after) < int(before) / 5


def test_another_c_library_is_left_alone(monkeypatch):
    import ctypes

    from recbole_hill.host.memory import keep_freed_memory

    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert keep_freed_memory() is False
