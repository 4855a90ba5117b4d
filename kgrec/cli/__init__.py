"""The kgrec command. It is imported when it is first used: what other modules of this package do needs only them."""

from typing import TYPE_CHECKING, Any

from kgrec._late import late

if TYPE_CHECKING:
    from kgrec.cli.entry import app, main, wait_briefly

__all__ = ["app", "main", "wait_briefly"]

_entry = late(__name__, dict.fromkeys(__all__, "entry"))


def __getattr__(name: str) -> Any:
    try:
        return _entry(name)
    except KeyboardInterrupt:  # Ctrl-C while modules are still being imported ends without a traceback
        raise SystemExit(130) from None
