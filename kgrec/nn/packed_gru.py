"""A GRU's states and gradients on the CPU, for training: no work for padding, and products of all steps at once.

torch's GRU on the CPU runs through all places of a batch, padding too, and its gradient makes two products of matrices
for each. Here the paths are sorted by length, so that the steps of one time are those of the first paths; only what
needs the state before is computed time by time, and gradients of weights are one product over all steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kgrec.nn.cpu_products import ROWS, by_columns, by_rows
from kgrec.nn.packed_paths import Paths


class Times(NamedTuple):
    """The steps of paths in the order of their times: all first steps, of longer paths first, then all second steps."""

    place: Tensor  #: LongTensor [n], where each step is in that order
    step: Tensor  #: LongTensor [n], which step is at each place
    sizes: list[int]  #: the number of steps of each time, falling

    @staticmethod
    def of(paths: Paths) -> Times:
        rank = torch.empty_like(paths.length)
        rank[paths.length.argsort(descending=True, stable=True)] = torch.arange(len(rank))
        sizes = torch.bincount(paths.step, minlength=paths.width)
        place = (sizes.cumsum(0) - sizes)[paths.step] + rank[paths.row]
        step = torch.empty_like(place)
        step[place] = torch.arange(len(place))
        return Times(place, step, sizes.tolist())


def can_learn(steps: Tensor, paths: Paths) -> bool:
    """Whether `states` serves: on the CPU, in 32 bits, and not in `torch.export`."""
    return (
        steps.device.type == "cpu"
        and steps.dtype == torch.float32
        and paths.places is None
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def states(steps: Tensor, weights: Sequence[Tensor], sizes: list[int]) -> Tensor:
    """The states of one layer, [n, H], from zero states. steps: [n, D], in the order of their times; weights: W_ih
    [3 H, D], W_hh [3 H, H], b_ih [3 H] and b_hh [3 H], as torch's GRU has them; sizes: see Times."""
    found: Tensor = _States.apply(steps, *weights, sizes)
    return found


class _States(torch.autograd.Function):
    """h' = n + z (h - n), with r, z = sigmoid(W x + b + V h + c), n = tanh(W_n x + b_n + r (V_n h + c_n))."""

    @staticmethod
    def forward(
        ctx: Any, steps: Tensor, of_input: Tensor, of_state: Tensor, bias: Tensor, state_bias: Tensor, sizes: list[int]
    ) -> Tensor:
        number, width = len(steps), of_state.shape[1]
        read = by_rows(steps, of_input, bias, multiple=ROWS)
        kept, gates = torch.empty(number, 3 * width), torch.empty(number, 2 * width)
        new, state = torch.empty(number, width), torch.empty(number, width)
        before, start, by = torch.zeros(sizes[0] if sizes else 0, width), 0, of_state.T
        for size in sizes:
            here = slice(start, start + size)
            old, own, recurrent, gate = before[:size], read[here], kept[here], gates[here]
            torch.addmm(state_bias, old, by, out=recurrent)
            torch.add(own[:, : 2 * width], recurrent[:, : 2 * width], out=gate).sigmoid_()
            torch.addcmul(own[:, 2 * width :], gate[:, :width], recurrent[:, 2 * width :], out=new[here]).tanh_()
            before = torch.lerp(new[here], old, gate[:, width:], out=state[here])
            start += size
        ctx.save_for_backward(steps, of_input, of_state, kept, gates, new, state)
        ctx.sizes = sizes
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from kgrec.nn import vector_kernels

        steps, of_input, of_state, kept, gates, new, state = ctx.saved_tensors
        number, width, gradient = len(steps), of_state.shape[1], gradient.contiguous()
        old = _before(state, ctx.sizes)
        of_read, of_kept = torch.empty(number, 3 * width), torch.empty(number, 3 * width)
        carried, stop = torch.zeros(ctx.sizes[0] if ctx.sizes else 0, width), number
        arrays = [one.numpy() for one in (gates, new, kept, old, gradient, of_read, of_kept, carried)]
        for size in reversed(ctx.sizes):
            here = slice(stop - size, stop)
            vector_kernels.gru_step_back(stop - size, stop, *arrays)
            carried[:size].addmm_(of_kept[here], of_state)
            stop -= size
        wanted = ctx.needs_input_grad
        return (
            by_rows(of_read, of_input.T, multiple=ROWS) if wanted[0] else None,
            by_columns(of_read, steps, multiple=ROWS) if wanted[1] else None,
            by_columns(of_kept, old, multiple=ROWS) if wanted[2] else None,
            of_read.sum(0) if wanted[3] else None,
            of_kept.sum(0) if wanted[4] else None,
            None,
        )


def _before(state: Tensor, sizes: list[int]) -> Tensor:
    """The state before each step: [n, H]."""
    found, start = torch.zeros_like(state), 0
    for last, size in itertools.pairwise(sizes):
        found[start + last : start + last + size] = state[start : start + size]
        start += last
    return found
