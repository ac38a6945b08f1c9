"""Keeps the memory of one training step for the next, and says where there is too little of it."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from training.errors import MemoryTooSmall

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_MOST = 2**31 - 1
# What torch says, in errors of no kind of their own, where it gets no memory.
_REFUSED = ("allocate memory", "out of memory", "Storage size calculation overflowed", "ALLOC_FAILED")


def keep() -> None:
    """Have freed memory stay with this process; where the C library is not glibc, nothing changes.

    A step allocates and frees the same hundreds of megabytes again and again, and glibc gives them back to the system
    each time: without this, a third of a step on a CPU went into zeroing fresh pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


@contextmanager
def enough() -> Iterator[None]:
    """Raises MemoryTooSmall where what is done within needs more memory than there is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _REFUSED):
            raise
        raise MemoryTooSmall(
            "There is not enough memory for this training: make the network smaller ([network]), "
            "or the batch (training.batch), or the images (--size)."
        ) from error
