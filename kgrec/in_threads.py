"""Parts of a work that are done side by side in threads, and given in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

import torch

Part = TypeVar("Part")
Made = TypeVar("Made")


def in_threads(work: Callable[[Part], Made], parts: Iterable[Part], threads: int) -> Iterator[Made]:
    """What `work` makes of each part, in their order. Each thread does a whole part, and torch is one thread in it, so
    that no core waits for another after every product. At most `threads` + 1 of what is made are there at once, also
    where who takes them is slow.

    Raises what `work` raises for the first part that fails; what comes behind it is dropped."""
    if threads <= 1:
        yield from map(work, parts)
        return
    before = torch.get_num_threads()

    def alone(part: Part) -> Made:
        torch.set_num_threads(1)  # of this thread
        return work(part)

    pool, waiting = ThreadPoolExecutor(threads, "kgrec-lists"), deque[Future[Made]]()
    try:
        for part in parts:
            waiting.append(pool.submit(copy_context().run, alone, part))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what threads that are started later take over
