"""How the C library holds memory, where it is glibc: so that a server that runs for long does not grow."""

from __future__ import annotations

import contextlib
import ctypes
import gc

MMAP_THRESHOLD = -3  #: the number of mallopt's parameter
LARGE = 1 << 20  #: bytes from which a block is mapped alone, and given back to the system when it is freed


def keep_flat() -> None:
    """Have large blocks stand alone. Else glibc maps only those that are larger than any that was freed before, up to
    32 MB, and what a loaded run or new items took leaves gaps between what stays."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Free what no one holds any more, and give its memory back to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
