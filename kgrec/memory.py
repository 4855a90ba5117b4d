"""How much memory there is, and errors for tensors that would not fit, before they are allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kgrec.errors import KgrecError

#: torch's functions that make a tensor of a certain size
MAKING = frozenset({"empty", "empty_strided", "zeros", "ones", "full", "rand", "randn", "randint", "normal", "eye"}) | {
    f"new_{name}" for name in ("empty", "zeros", "ones", "full")
}

_CHECKING: ContextVar[bool] = ContextVar("_CHECKING", default=False)  #: whether sizes are being checked already


def memory() -> dict[str, int | None]:
    """Total memory, available memory, and the limit of a container, in bytes; None if the system does not report it."""
    known: dict[str, int] = {}
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        known = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 2}
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return {
        "total": known.get("MemTotal"),
        "available": known.get("MemAvailable"),
        "limit": int(text) if text.isdigit() else None,
    }


def must_fit(size: int, what: str, advice: str = "choose smaller sizes") -> None:
    """Raise KgrecError if fewer than `size` bytes of memory are free. what: what they are needed for; advice: what to
    do instead, both for the message."""
    if size < 1 << 28:  # so little is always available
        return
    found = memory()
    free = min((part for part in (found["available"], found["limit"]) if part is not None), default=None)
    if free is not None and size > free:
        raise KgrecError(
            f"{what} would take {size / 2**30:,.1f} GiB of memory, but only {free / 2**30:,.1f} GiB are free; {advice}"
        )


class _Sizes(TorchDispatchMode):
    """Checks the size of each tensor before it is made."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: else torch imports its compiler when this is first called, which takes more than a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in MAKING:
            size = next((one for one in args if isinstance(one, (list, tuple))), ())
            kind = kwargs.get("dtype") or torch.get_default_dtype()
            must_fit(prod(map(int, size)) * kind.itemsize, self.what)
        return func(*args, **kwargs)


@contextmanager
def failures_explained(what: str, sizes: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
    """Inside this context, errors of torch or NumPy for too little memory, or for a number too large for its type,
    become KgrecErrors. what: what is being done, for the message. sizes: settings that need less memory if they are
    lower, with their values."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _no_memory(what, error, sizes()) from error
    except RuntimeError as error:
        if "allocate memory" in str(error) or "Storage size calculation overflowed" in str(error):
            raise _no_memory(what, error, sizes()) from error
        if "without overflow" in str(error):
            raise KgrecError(
                f"{what}: a setting is too large for 32-bit numbers ({error}); choose a smaller one"
            ) from error
        raise


def _no_memory(what: str, error: Exception, sizes: Mapping[str, Any]) -> KgrecError:
    said = str(error).strip().splitlines()
    wanted = "lower " + " or ".join(f"{name} (now {value})" for name, value in sizes.items()) if sizes else ""
    instead = ", or use --device cpu" if isinstance(error, torch.OutOfMemoryError) else ""
    return KgrecError(
        f"{what} needs more memory than is free ({said[0] if said else 'no details'}); "
        f"{wanted or 'choose smaller sizes'}{instead}"
    )


@contextmanager
def sizes_checked(what: str) -> Iterator[None]:
    """Inside this context, a CPU tensor that would not fit into memory raises KgrecError before it is made. what: what
    is being made, for the message."""
    if _CHECKING.get():  # a model inside another one is not checked twice
        yield
        return
    token = _CHECKING.set(True)
    try:
        with failures_explained(what), _Sizes(what):
            yield
    finally:
        _CHECKING.reset(token)
