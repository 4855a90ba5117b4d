"""Buffers that hold positions (indices). They are checked when weights are loaded, which may come from a stranger."""

from __future__ import annotations

from typing import Any

from torch import nn

from kgrec.errors import KgrecError


def require_indices(module: nn.Module, name: str, count: int, *, ascending: bool = False) -> None:
    """Make a module refuse to load weights whose buffer `name` holds a position outside 0 to `count` - 1, or, with
    `ascending`, positions that are not in ascending order. Loading such weights raises KgrecError.

    >>> import torch
    >>> layer = nn.Module()
    >>> layer.register_buffer("code", torch.zeros(2, dtype=torch.long))
    >>> require_indices(layer, "code", 3)
    >>> layer.load_state_dict({"code": torch.tensor([2, 3])})
    Traceback (most recent call last):
    kgrec.errors.KgrecError: 'code' in the weights holds the position 3; 0 to 2 is allowed; the file was altered ...
    """

    def check(layer: nn.Module, _: Any) -> None:
        found = getattr(layer, name)
        if not found.numel():
            return
        least, most = int(found.min()), int(found.max())
        if least < 0 or most >= count:
            raise KgrecError(
                f"{name!r} in the weights holds the position {least if least < 0 else most}; 0 to {count - 1:,} is "
                "allowed; the file was altered or belongs to another graph: use the original file, or train again"
            )
        if ascending and bool((found.diff() < 0).any()):
            raise KgrecError(
                f"{name!r} in the weights holds positions that are not ascending; the file was altered: use the "
                "original file, or train again"
            )

    module.register_load_state_dict_post_hook(check)
