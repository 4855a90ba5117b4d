"""Buffers that hold positions: what is loaded into them is checked, as weights may be a stranger's."""

from __future__ import annotations

from typing import Any

from torch import nn

from kgrec.errors import KgrecError


def require_indices(module: nn.Module, name: str, count: int, *, ascending: bool = False) -> None:
    """Let a module refuse weights whose buffer `name` holds other positions than 0 to `count` - 1, or, where it is to
    be `ascending`, positions that fall. Loading such weights raises KgrecError.

    >>> import torch
    >>> layer = nn.Module()
    >>> layer.register_buffer("code", torch.zeros(2, dtype=torch.long))
    >>> require_indices(layer, "code", 3)
    >>> layer.load_state_dict({"code": torch.tensor([2, 3])})
    Traceback (most recent call last):
    kgrec.errors.KgrecError: the weights' 'code' holds the position 3, and there are 3, from 0; the weights are altered
    """

    def check(layer: nn.Module, _: Any) -> None:
        found = getattr(layer, name)
        if not found.numel():
            return
        least, most = int(found.min()), int(found.max())
        if least < 0 or most >= count:
            raise KgrecError(
                f"the weights' {name!r} holds the position {least if least < 0 else most}, and there are {count:,}, "
                "from 0; the weights are altered"
            )
        if ascending and bool((found.diff() < 0).any()):
            raise KgrecError(f"the weights' {name!r} holds positions that fall; the weights are altered")

    module.register_load_state_dict_post_hook(check)
