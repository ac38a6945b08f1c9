"""Keeps freed memory for the next training step, and reports when there is too little memory."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from training.errors import MemoryTooSmall

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_MOST = 2**31 - 1
# Words in torch's RuntimeErrors that mean too little memory; they have no class of their own.
_REFUSED = ("allocate memory", "out of memory", "Storage size calculation overflowed", "ALLOC_FAILED")


def keep() -> None:
    """Keep freed memory in this process; without effect if the C library is not glibc.

    Every step allocates and frees the same hundreds of megabytes, and glibc returns them to the system each time.
    Without this, a third of a step on a CPU goes into zeroing new pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


@contextmanager
def enough() -> Iterator[None]:
    """Raise MemoryTooSmall if the code in this context needs more memory than there is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _REFUSED):
            raise
        raise MemoryTooSmall(
            "There is not enough memory for this training: make the network smaller ([network]), "
            "or the batch (training.batch), or the images (--size)."
        ) from error
