"""Keeps the memory of one training step for the next."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_MOST = 2**31 - 1


def keep() -> None:
    """Have freed memory stay with this process; where the C library is not glibc, nothing changes.

    A step allocates and frees the same hundreds of megabytes again and again, and glibc gives them back to the system
    each time: without this, a third of a step on a CPU went into zeroing fresh pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MOST)
