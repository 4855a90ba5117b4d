"""Sequences of steps without padding: how steps belong to paths, and what of histories is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Paths:
    """Describes how n steps belong to B paths. Steps are packed: path after path, without padding.

    With `places`, every path has that many steps, and those past its end are padding. Then no shape depends on the
    values of a tensor, as `torch.export` requires (see `exportable`). The outputs for padding are never read.
    """

    length: Tensor  #: LongTensor [B], number of steps of each path, 0 or more
    places: int | None = None  #: L, number of steps with padding; None: there is no padding
    time: Tensor | None = None  #: LongTensor [n], unix seconds of each step; None: the model reads no times
    now: Tensor | None = None  #: LongTensor [n], unix seconds when the step after each is wanted; None: likewise

    @cached_property
    def width(self) -> int:
        """Number of steps of the longest path, L."""
        if self.places is not None:
            return self.places
        return int(self.length.max()) if len(self.length) else 0

    def rounded(self, multiple: int) -> Paths:
        """The same, with a width that is a multiple of something."""
        other = replace(self)
        if self.places is None:
            vars(other)["width"] = -(-self.width // multiple) * multiple
        return other

    @cached_property
    def stop(self) -> Tensor:
        """Position after each path's last step: LongTensor [B]."""
        if self.places is None:
            return self.length.cumsum(0)
        return torch.arange(self.length.shape[0], device=self.length.device) * self.places + self.length

    @cached_property
    def row(self) -> Tensor:
        """The path of each step: LongTensor [n]."""
        paths = torch.arange(self.length.shape[0], device=self.length.device)
        if self.places is None:
            return paths.repeat_interleave(self.length)
        return paths.unsqueeze(1).expand(-1, self.places).reshape(-1)

    @cached_property
    def step(self) -> Tensor:
        """The position of each step in its path, from 0: LongTensor [n]."""
        return torch.arange(self.row.shape[0], device=self.row.device) - (self.stop - self.length)[self.row]

    @cached_property
    def slot(self) -> Tensor:
        """The position of each step in rows of L steps, padded on the right: LongTensor [n]."""
        return self.row * self.width + self.step

    @cached_property
    def seen(self) -> Tensor:
        """Which positions in rows of L are steps: BoolTensor [B, L]. A path without steps counts as one step, so that a
        softmax over its steps is not NaN."""
        return torch.arange(self.width, device=self.length.device) < self.length.clamp(min=1).unsqueeze(1)

    def padded(self, steps: Tensor) -> Tensor:
        """Steps [n, D] as rows [B, L, D], zeros past a path's end."""
        number = self.length.shape[0]
        if self.places is not None:
            return steps.view(number, self.places, -1) * (self.step < self.length[self.row]).view(number, -1, 1)
        rows = steps.new_zeros(number * self.width, steps.shape[-1])
        return rows.index_copy(0, self.slot, steps).view(number, self.width, steps.shape[-1])

    def packed(self, rows: Tensor) -> Tensor:
        """Rows [B, L, D] back to steps [n, D]."""
        return rows.reshape(-1, rows.shape[-1]).index_select(0, self.slot)

    def last(self, steps: Tensor) -> Tensor:
        """The last step of each path, of steps [n, D]: [B, D]; zeros for a path without steps."""
        known = self.length > 0
        if self.places is not None:
            return steps[(self.stop - 1).clamp(min=0)] * known.unsqueeze(1)
        found = steps.new_zeros(len(self.length), steps.shape[-1])
        found[known] = steps[self.stop[known] - 1]
        return found


@dataclass(frozen=True, eq=False)
class ReadSteps:
    """What is read of histories, [B, L] each."""

    history: Tensor
    there: Tensor  #: BoolTensor, which steps exist
    behaviour: Tensor | None = None
    masked: Tensor | None = None  #: BoolTensor, which are hidden
    time: Tensor | None = None
    now: Tensor | None = None  #: when the step after each is wanted
    is_padded: bool = False  #: padding is behind the steps, and is encoded as well

    @property
    def paths(self) -> Paths:
        """How the steps belong to paths."""
        time, now = (one if one is None or self.is_padded else one[self.there] for one in (self.time, self.now))
        if not self.is_padded:
            return Paths(self.there.sum(1), time=time, now=now)
        time, now = (None if one is None else one.flatten() for one in (time, now))
        return Paths(self.there.sum(1), self.there.shape[1], time=time, now=now)

    def padded(self) -> ReadSteps:
        """The same with padding behind the steps, in place of none."""
        first = (~self.there).long().argsort(dim=1, stable=True)
        moved = {
            name: None if value is None else value.gather(1, first)
            for name, value in vars(self).items()
            if name not in ("there", "is_padded")
        }
        if moved["behaviour"] is not None:
            moved["behaviour"] = moved["behaviour"].clamp(min=0)
        return ReadSteps(**moved, there=self.there, is_padded=True)  # type: ignore[arg-type]
