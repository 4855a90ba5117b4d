"""Build a model from a run folder of unknown origin, with no more memory than its stored weights justify."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kgrec.errors import KgrecError
from kgrec.tensor_headers import stored_shapes

FREE = 32 << 20  #: bytes that any model may take
TIMES = 4  #: how many times the bytes of the stored weights a model may take, for intermediate results
LEAST = 64 << 10  #: bytes that each tensor counts at least, for its module and the time it takes
SIZES = ("size", "n", "m", "end", "minlength", "steps")  #: arguments of torch that set a tensor's size


@contextmanager
def limited_build(folder: Path, weights: Path) -> Iterator[None]:
    """Inside this context, torch makes no tensors beyond what the weights of a run justify. Without it, an altered
    config.json or schema.json could ask for a width of 10**12. weights: the file of weights; only its header is read.

    Raises KgrecError before too much is allocated, and if the model cannot be built from the folder's settings.
    """
    shapes = stored_shapes(weights)
    most = FREE + TIMES * (weights.stat().st_size + LEAST * len(shapes))
    try:
        with _Limit(folder, most):
            yield
    except KgrecError as error:
        if str(folder) in str(error):
            raise
        raise type(error)(f"{folder / 'config.json'}: {error}") from error
    except Exception as error:
        raise KgrecError(
            f"{folder}: no model can be built from config.json and schema.json, so one of them was altered "
            f"({type(error).__name__}: {_short(error)}); train again"
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


class _Limit(TorchDispatchMode):
    """Counts the bytes of tensors that torch makes by size, and raises KgrecError beyond a limit."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__()
        self.folder, self.most, self.taken = folder, most, 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: else torch imports its compiler when this is first called, which takes more than a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = _asked(func, args, kwargs)
        if asked is not None:
            self.taken += max(LEAST, asked)
            if self.taken > self.most:
                raise KgrecError(
                    f"{self.folder}: the weights do not fit the model: with the sizes in config.json and schema.json "
                    f"it would take more than {self.most:,} bytes, so the folder was altered; train again"
                )
        return func(*args, **kwargs)


def _asked(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """The number of bytes of the tensor that a call makes, by its size arguments; None if it makes none. A view
    (`expand`) has a size but no memory of its own."""
    names = _arguments(func)
    if names is None:
        return None
    values = dict(zip(names, args)) | dict(kwargs)
    sizes = [values[name] for name in SIZES if values.get(name) is not None]
    if not sizes:
        return _of_operands(func, args, kwargs)
    count = math.prod(math.prod(size) if isinstance(size, list | tuple) else size for size in sizes)
    dtype = values.get("dtype") or torch.get_default_dtype()
    return max(0, int(count)) * dtype.itemsize


@functools.cache
def _arguments(func: Any) -> tuple[str, ...] | None:
    """The names of an operator's arguments; None if it changes one of them or gives a view."""
    schema = func._schema
    if schema.is_mutable or any(one.alias_info is not None for one in schema.arguments):
        return None
    return tuple(one.name for one in schema.arguments)


def _of_operands(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """The number of bytes of the result of tensors, if shapes determine it: [N, 1] and [1, N] give [N, N]."""
    operands = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
    if sum(one.numel() for one in operands) < 1 << 12:
        return None
    try:
        apart = [one.to("meta") if isinstance(one, torch.Tensor) else one for one in args]
        named = {name: one.to("meta") if isinstance(one, torch.Tensor) else one for name, one in kwargs.items()}
        made = func(*apart, **named)
    except Exception:  # the result depends on the values, so it is not larger than their number
        return None
    return made.numel() * made.element_size() if isinstance(made, torch.Tensor) else None
