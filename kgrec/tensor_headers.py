"""Read what the header of a safetensors file says about its tensors, before any memory is allocated for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError

LONGEST_HEADER = 100_000_000  #: bytes, the limit of safetensors itself


def read_header(file: Path) -> tuple[int, dict[str, Any]]:
    """The byte where the numbers of a safetensors file start, and the entry of each tensor by name. Only the header is
    read, and its length is checked first. Raises KgrecError if it is not a safetensors file."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise KgrecError(
                f"{file} is no safetensors file, or truncated: its header has {length:,} bytes; train again"
            )
        text = opened.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KgrecError(f"{file} is no safetensors file, or truncated: {error}; train again") from error
    if not isinstance(header, dict):
        raise KgrecError(f"{file} is no safetensors file: its header is {type(header).__name__}; train again")
    return 8 + length, header


def stored_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name, as the header says. Raises KgrecError if the header does not have the form of
    safetensors."""
    _, header = read_header(file)
    try:
        shapes = {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}
        if all(type(size) is int and size >= 0 for shape in shapes.values() for size in shape):
            return shapes
    except (KeyError, TypeError):
        pass
    raise KgrecError(f"{file} is no safetensors file: its header describes no tensors; train again")
