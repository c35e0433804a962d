"""What the C library does with memory that tensors give back."""

import contextlib
import ctypes

#: glibc's ``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD``, from its malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Keeps freed arrays of up to 1 GiB for the arrays to come; only glibc is told, others ignored.

    By default glibc returns the tables of every training step to the kernel, which hands them out
    again page by page: a fifth of a LightGCN step on Gowalla, more where page faults are dear.

    Returns:
        Whether the C library took it.
    """
    with contextlib.suppress(OSError, AttributeError):  # no glibc: macOS, Windows, musl
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return all([mallopt(option, _KEPT) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)])
    return False
