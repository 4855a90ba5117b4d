"""How often Python looks for cycles of objects that nothing else refers to."""

from __future__ import annotations

import atexit
import gc

USUAL = gc.get_threshold()


def collect_less() -> None:
    """Look for cycles less often, and not at the end of the process.

    A command imports some million objects that stay, and makes hardly any cycles, even when it trains. By default a
    fifth of the time of a short command goes into looking for them.
    """
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.disable)


def collect_as_usual() -> None:
    """Look for cycles as often as Python does by default: a server makes some with each request."""
    gc.set_threshold(*USUAL)
