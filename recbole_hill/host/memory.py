"""Whether the C library keeps the memory of freed tensors."""

import contextlib
import ctypes

#: glibc's ``M_TRIM_THRESHOLD`` and ``M_MMAP_THRESHOLD``, from its malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Makes glibc keep freed arrays of up to 1 GiB for later arrays; does nothing without glibc.

    By default glibc returns the tables of every training step to the kernel. The kernel then hands
    them out again page by page, which takes a fifth of a LightGCN step on Gowalla, and more on
    machines with slow page faults.

    Returns:
        Whether the C library accepted the setting.
    """
    with contextlib.suppress(OSError, AttributeError):  # no glibc: macOS, Windows, musl
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return all([mallopt(option, _KEPT) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)])
    return False
