"""A model built from a folder that may be a stranger's: it takes no more memory than the stored weights account for."""

from __future__ import annotations

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
TIMES = 4  #: how many times the bytes of the stored weights it may take, for what it computes on the way
LEAST = 64 << 10  #: bytes that a tensor counts for at least: a module's own, and the time that it takes
SIZES = ("size", "n", "m", "end", "minlength", "steps")  #: the arguments of torch by which a tensor's size is asked for


@contextmanager
def limited_build(folder: Path, weights: Path) -> Iterator[None]:
    """While this lasts, no tensor is made that goes beyond what the weights of a run account for: config.json and
    schema.json may ask for a width of 10**12. weights: their file, of which the header alone is read.

    Raises KgrecError where more is asked for, before it is allocated, and where what is built in it fails: it is built
    of the folder's own settings.
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
            f"{folder}: no model can be built of config.json and schema.json, so one of them is altered: "
            f"{type(error).__name__}: {_short(error)}; train again"
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


class _Limit(TorchDispatchMode):
    """Counts what torch allocates for tensors that are made of sizes, and refuses what goes beyond a limit."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__()
        self.folder, self.most, self.taken = folder, most, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = _asked(func, args, kwargs)
        if asked is not None:
            self.taken += max(LEAST, asked)
            if self.taken > self.most:
                raise KgrecError(
                    f"{self.folder}: the weights do not fit the model, which would take more than {self.most:,} bytes "
                    "by the sizes in config.json and schema.json; the folder is altered: train again"
                )
        return func(*args, **kwargs)


def _asked(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """How many bytes a call makes a tensor of, by the sizes that it is asked for; None where it is asked for none. A
    view (`expand`) has a size and no memory of its own."""
    schema = func._schema
    if schema.is_mutable or any(one.alias_info is not None for one in schema.arguments):
        return None
    values = dict(zip((one.name for one in schema.arguments), args)) | dict(kwargs)
    sizes = [values[name] for name in SIZES if values.get(name) is not None]
    if not sizes:
        return _of_operands(func, args, kwargs)
    count = math.prod(math.prod(size) if isinstance(size, list | tuple) else size for size in sizes)
    dtype = values.get("dtype") or torch.get_default_dtype()
    return max(0, int(count)) * dtype.itemsize


def _of_operands(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """How many bytes come of tensors, where shapes say so: two of [N, 1] and [1, N] give [N, N]."""
    operands = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
    if sum(one.numel() for one in operands) < 1 << 12:
        return None
    try:
        apart = [one.to("meta") if isinstance(one, torch.Tensor) else one for one in args]
        named = {name: one.to("meta") if isinstance(one, torch.Tensor) else one for name, one in kwargs.items()}
        made = func(*apart, **named)
    except Exception:  # its result depends on the values, and is no larger than they are many
        return None
    return made.numel() * made.element_size() if isinstance(made, torch.Tensor) else None
