"""How often Python looks for cycles of objects that nothing else refers to."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()


@contextmanager
def collecting_less() -> Iterator[None]:
    """A context in which Python looks for cycles less often. The end of the process does not look for them either.

    A command imports some million objects that stay, and makes hardly any cycles, even when it trains. By default a
    fifth of the time of a short command goes into looking for them.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.disable)
    try:
        yield
    finally:
        gc.set_threshold(*before)  # who calls a command from a program of their own goes on as before


def collect_as_usual() -> None:
    """Look for cycles as often as Python does by default: a server makes some with each request."""
    gc.set_threshold(*USUAL)
