"""Memory in large pages (transparent huge pages of Linux), for tables whose rows are read in no order."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import Any

import torch
from torch import Tensor

LEAST = 1 << 26  #: bytes from which it pays: such a table is far from fitting into what the processor keeps of pages


def in_large_pages(tensor: Tensor) -> Tensor:
    """The same tensor; if it is large and on the CPU, its memory will be in pages of 2 MB where the system has them.

    Call it before the first value is written: a page is chosen when it is first touched. A random row then costs one
    cache miss, and not a second one for its address as well. Values do not change, and a system that has no such pages
    goes on with small ones."""
    size = tensor.numel() * tensor.element_size()
    advise, advice = _madvise(), getattr(mmap, "MADV_HUGEPAGE", None)
    if advise is None or advice is None or tensor.device.type != "cpu" or size < LEAST:
        return tensor
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (tensor.data_ptr() + size - first) // mmap.PAGESIZE * mmap.PAGESIZE
    advise(ctypes.c_void_p(first), ctypes.c_size_t(whole), advice)  # advice: a refusal changes nothing
    return tensor


def zeros_in_large_pages(like: Tensor) -> Tensor:
    """Zeros shaped like a tensor, in large pages."""
    return in_large_pages(torch.empty_like(like)).zero_()


@cache
def _madvise() -> Any:
    """The system's madvise; None where there is none."""
    try:
        return ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):
        return None
