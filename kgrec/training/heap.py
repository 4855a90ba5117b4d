"""The heap of the C library during training, where it is glibc. Other allocators need none of this."""

from __future__ import annotations

import contextlib
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  #: the numbers of mallopt's parameters
LARGE = 32 << 20  #: bytes from which a block is mapped alone: the most to which glibc itself raises this
FREE = 256 << 20  #: bytes of free memory that may stay at the end of the heap


def keep_freed() -> None:
    """Have freed tensors stay in the heap for the next ones. Otherwise glibc gives memory back to the system whenever
    64 MB at the end of the heap are free, and a step of a graph network gets it back page by page, which took a quarter
    of its time. `trim` gives it back from time to time."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        change = ctypes.CDLL(None).mallopt
        change(MMAP_THRESHOLD, LARGE)
        change(TRIM_THRESHOLD, FREE)


def trim() -> None:
    """Give free memory back to the system. If batches vary in size, glibc does not reuse freed tensors well and grows
    by about 10 MB in each step."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
