"""Products of float32 matrices on the CPU by oneDNN, where the library that torch takes for them leaves half undone.

torch multiplies float32 matrices on a CPU by oneMKL, which takes 256 bits at once on processors of AMD, though they
have 512: 95 GFLOP/s on a core of an EPYC of 2024 (Zen 5). oneDNN, which is a part of torch too, has 230 there. On
processors of Intel both take what there is. Only what is learned from is multiplied so: a product that serves is to be
steady (see steady_products), whatever the number of rows.

oneDNN compiles a kernel for each shape when it is first used, in some milliseconds. So rows are filled up with zeros
to a multiple of `ROWS`, where their number changes from batch to batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 256  #: numbers of rows of a layer are multiples of it
FEW = 64  #: the same of products that are made in equal parts, so that only the last has another number
NARROW = 32  #: columns and rows of a weight below which oneDNN is no faster
LEAST = 1 << 22  #: multiplications from which a product of a layer is worth the passes that it takes besides


@cache
def available() -> bool:
    """Whether oneDNN is the faster one here: a processor of AMD with AVX-512, and a torch with oneDNN."""
    built = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return built and wide and sys.platform == "linux" and _vendor() == "AuthenticAMD"


def _vendor() -> str:
    """The maker of the processor, as it names itself; "" where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def serve(rows: Tensor, others: Tensor) -> bool:
    """Whether rows [n, k] are multiplied with others [m, k] by oneDNN: float32 on such a CPU, not under autocast, nor
    in `torch.export`, and others not narrow."""
    return bool(
        not torch.compiler.is_compiling()
        and available()
        and rows.dtype == others.dtype == torch.float32
        and rows.device.type == others.device.type == "cpu"
        and min(others.shape) >= NARROW
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )


def by_rows(rows: Tensor, others: Tensor, bias: Tensor | None = None, *, multiple: int = FEW) -> Tensor:
    """rows [n, k] by the transposed of others [m, k], plus a bias [m]: [n, m]. Without a gradient. Either may be a view
    with other strides. multiple: n is filled up to a multiple of it.

    >>> by_rows(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([[11., 17.]])
    """
    if not serve(rows, others):
        return rows @ others.T if bias is None else torch.addmm(bias, rows, others.T)
    return _product(filled(rows, multiple), others, bias)[: len(rows)]


def by_columns(rows: Tensor, others: Tensor, *, multiple: int = FEW) -> Tensor:
    """The sum over n of the products of rows [n, k] with others [n, m]: [k, m], or a view of that shape. Without a
    gradient, as `by_rows`.

    >>> by_columns(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    if not serve(rows.T, others.T) or rows.shape[1] < NARROW:
        return rows.T @ others
    rows, others = filled(rows, multiple), filled(others, multiple)
    if rows.shape[1] > others.shape[1]:  # the wider one is better the second
        return _product(others.T, rows.T).T
    return _product(rows.T, others.T)


def subtract(matrix: Tensor, rows: Tensor, others: Tensor) -> None:
    """Subtract rows [n, k] by the transposed of others [m, k] from a matrix [n, m], in place."""
    if serve(rows, others):
        matrix -= _product(rows, others)
    else:
        matrix.addmm_(rows, others.T, alpha=-1)


def filled(rows: Tensor, multiple: int) -> Tensor:
    """Rows [n, k] with rows of zeros behind them, up to a multiple."""
    missing = -len(rows) % multiple
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same as torch.nn.functional.linear: rows [*, k], weight [m, k], bias [m]; returns [*, m]."""
    learns = torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad)
    if not learns or not serve(rows, weight) or rows.numel() * len(weight) < LEAST:
        return functional.linear(rows, weight, bias)
    found: Tensor = _Linear.apply(rows.reshape(-1, rows.shape[-1]), weight, bias)
    return found.view(*rows.shape[:-1], len(weight))


class Linear(nn.Linear):
    """torch's linear layer, whose products are made by `linear`."""

    def forward(self, rows: Tensor) -> Tensor:
        return linear(rows, self.weight, self.bias)


def layer(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `linear` makes of rows [n, k], without a gradient: [n, m]."""
    if rows.numel() * len(weight) < LEAST:
        return functional.linear(rows, weight, bias)
    return by_rows(rows, weight, bias, multiple=ROWS)


def kept_for_gradients(rows: Tensor, width: int) -> Tensor:
    """Rows [n, k] of a `layer` with outputs of this width, as `layer_gradients` reads them fastest: perhaps a copy,
    made while they are near, whose columns lie without gaps in memory."""
    narrower = NARROW <= rows.shape[1] < width
    if not narrower or len(rows) % ROWS or rows.numel() * width < LEAST or not serve(rows, rows):
        return rows
    return _copied(rows.T).T


def layer_gradients(
    gradient: Tensor, rows: Tensor, weight: Tensor, wanted: Sequence[bool] = (True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `layer` by its rows, [n, k], and by its weight, [m, k]; None for one that is not wanted.
    gradient: [n, m]."""
    if rows.numel() * len(weight) < LEAST:
        return gradient @ weight if wanted[0] else None, gradient.T @ rows if wanted[1] else None
    gradient = filled(gradient, ROWS)
    return (
        by_rows(gradient, weight.T)[: len(rows)] if wanted[0] else None,
        by_columns(gradient, filled(rows, ROWS)) if wanted[1] else None,
    )


def _product(rows: Tensor, others: Tensor, bias: Tensor | None = None) -> Tensor:
    rows, others = _dense(rows.detach()), _dense(others.detach())
    own = None if bias is None else bias.detach()
    if not rows.is_contiguous():  # oneDNN would copy them too, by torch
        rows = _copied(rows)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, others, own, "none", [], "")
    return found


def _dense(matrix: Tensor) -> Tensor:
    """A matrix whose rows or columns lie without gaps in memory: the same, or a copy. With gaps oneDNN has nothing but
    a plain loop for it, which takes hundreds of times as long."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def _copied(rows: Tensor) -> Tensor:
    """A contiguous copy of the transposed of a contiguous matrix."""
    from kgrec.nn import vector_kernels

    copied = torch.empty(rows.shape)
    vector_kernels.transpose(rows.T.numpy(), copied.numpy())
    return copied


class _Linear(torch.autograd.Function):
    """See `linear`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return layer(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        *wanted, of_bias = ctx.needs_input_grad
        bias = gradient.sum(0) if of_bias else None
        if torch.is_grad_enabled():  # a gradient of this one is wanted
            return gradient @ weight if wanted[0] else None, gradient.T @ rows if wanted[1] else None, bias
        return *layer_gradients(gradient, rows, weight, wanted), bias
