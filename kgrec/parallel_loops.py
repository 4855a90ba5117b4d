"""Compiled loops whose turns several threads share, and which several threads may begin at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, update_wrapper
from typing import Any

import numba

SEVERAL = ("omp", "tbb")  #: numba's layers that serve several callers at once
LOCK = threading.Lock()
SMALL = 1 << 15  #: nanoseconds of work that are done sooner by one thread than it takes to wake others


class ParallelLoop:
    """A function with `numba.prange`, compiled. Where numba has neither OpenMP nor TBB, as on a Mac or in a small
    container, it ends the process if two threads are in such functions at the same time, say that of a training and the
    one that samples the next batch. So there they wait for each other.

    work: about how many nanoseconds a call takes one thread; a call of less than SMALL runs on one.
    """

    def __init__(self, function: Callable[..., Any], work: Callable[..., int], **how: Any) -> None:
        self.compiled, self.work = numba.njit(nogil=True, cache=True, parallel=True, **how)(function), work
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        with guard():
            threads = numba.get_num_threads()
            if threads == 1 or self.work(*arguments) >= SMALL:
                return self.compiled(*arguments)
            numba.set_num_threads(1)  # of loops that this thread begins; others keep theirs
            try:
                return self.compiled(*arguments)
            finally:
                numba.set_num_threads(threads)


@cache
def guard() -> AbstractContextManager[Any]:
    """What is held while such a function runs: the lock, where numba's threads serve one caller at a time."""
    return nullcontext() if threading_layer() in SEVERAL else LOCK


def threading_layer() -> str:
    """What numba's threads are made by: omp, tbb or workqueue."""
    numba.get_num_threads()  # starts them, so that it is known
    return str(numba.threading_layer())


def parallel(work: Callable[..., int], **how: Any) -> Callable[[Callable[..., Any]], ParallelLoop]:
    """Decorate a function with `numba.prange` in it. work: of its arguments, see ParallelLoop; how: further options of
    `numba.njit`."""
    return lambda function: ParallelLoop(function, work, **how)
