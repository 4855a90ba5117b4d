"""Propagation of vectors along edges: products with a sparse matrix, whose transpose is stored for the gradient."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.memory import must_fit

WHOLE = 160  #: bytes for each edge while the matrix is made
LANES = 16  #: numbers that the compiled product sums at once: see `kgrec.nn.sparse_kernels`


class Adjacency(nn.Module):
    """A sparse matrix [N, M] in CSR, with its transpose for the backward pass. Values have no gradient.

    Its tensors are buffers: they move with the module to a device, but are not part of its state_dict.

    >>> matrix = Adjacency(torch.tensor([0, 2, 2]), torch.tensor([0, 2]), torch.tensor([1.0, 0.5]), width=3)
    >>> matrix(torch.tensor([[1.0], [2.0], [4.0]])).tolist()
    [[3.0], [0.0]]
    """

    def __init__(self, ptr: Tensor, column: Tensor, value: Tensor, width: int) -> None:
        """ptr: LongTensor [N + 1]; column: LongTensor [E]; value: FloatTensor [E]; width: M."""
        super().__init__()
        height = len(ptr) - 1
        row = torch.arange(height, device=ptr.device).repeat_interleave(ptr.diff())
        order = column.argsort(stable=True)
        back = functional.pad(torch.bincount(column, minlength=width).cumsum(0), (1, 0))
        self.shape = (height, width)
        self.ptr: Tensor
        self.column: Tensor
        self.value: Tensor
        self.order: Tensor  #: LongTensor [E], the position in `value` of each value of the transpose
        self.back_ptr: Tensor
        self.back_column: Tensor
        self.back_value: Tensor
        tensors = {"ptr": ptr.int(), "column": column.int(), "value": value.float(), "order": order}
        tensors |= {"back_ptr": back.int(), "back_column": row[order].int(), "back_value": value[order].float()}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @torch.no_grad()
    def set_values(self, value: Tensor) -> None:
        """Replace the values: FloatTensor [E], in the order of `column` in the constructor."""
        self.value.copy_(value)
        self.back_value.copy_(value[self.order])

    def forward(self, x: Tensor) -> Tensor:
        """The product with x [M, D]: float32 [N, D], also under autocast: sparse products do not support bf16."""
        return product(*self._matrices(), x.float())

    def with_rows(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [M, D], its product with this matrix, [N, D], and some rows of x, [n, D], all float32. The gradients of the
        three are added up in one pass. rows: LongTensor [n], distinct."""
        own, sums, of_rows = _WithRows.apply(*self._matrices(), x.float(), rows)
        return own, sums, of_rows

    def mean_of_layers(self, x: Tensor, layers: int) -> Tensor:
        """(x + A x + A^2 x + ... + A^K x) / (K + 1) for this square matrix A, x [N, D] and K layers: float32 [N, D]. It
        is computed from the inside, as x + A (x + A (x + ...)), so that no layer is kept or added up on its own.

        >>> matrix = Adjacency(torch.tensor([0, 1, 1]), torch.tensor([1]), torch.tensor([0.5]), width=2)
        >>> matrix.mean_of_layers(torch.tensor([[2.0], [4.0]]), layers=1).tolist()
        [[2.0], [2.0]]
        """
        found: Tensor = _MeanOfLayers.apply(*self._matrices(), x.float(), layers)
        return found

    def mean_over_tables(self, first: Tensor, second: Tensor, layers: int) -> tuple[Tensor, Tensor]:
        """`mean_of_layers` of the rows of two tables, [N1 + 1, D] and [N2 + 1, D], whose last rows are zeros, with
        N = N1 + N2 and at least one layer. The two results have the shapes of the tables, and zeros in their last rows.
        """
        found: tuple[Tensor, Tensor] = _MeanOverTables.apply(*self._matrices(), first.float(), second.float(), layers)
        return found

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The matrix and its transpose as torch's CSR matrices."""
        forth = csr_matrix(self.ptr, self.column, self.value, self.shape)
        return forth, csr_matrix(self.back_ptr, self.back_column, self.back_value, self.shape[::-1])


def csr_matrix(ptr: Tensor, column: Tensor, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """torch's CSR matrix from the IntTensors ptr and column, without torch's warning that this is a beta feature."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(ptr, column, value, shape, check_invariants=False)


def product(matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
    """The product of a CSR matrix [N, M] with x [M, D], whose gradient is made with the transpose: float32 [N, D]."""
    found: Tensor = _Product.apply(matrix, transpose, x)
    return found


class _Product(torch.autograd.Function):
    """matrix @ x; the gradient of x is transpose @ gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor) -> Tensor:
        ctx.transpose = transpose
        return multiplied(matrix, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, multiplied(ctx.transpose, gradient.float())


class _WithRows(torch.autograd.Function):
    """x, matrix @ x and some rows of x; the gradient of x is that of the first, plus transpose @ that of the second,
    plus that of the rows."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.transpose = transpose
        ctx.save_for_backward(rows)
        ctx.set_materialize_grads(False)
        return x.view_as(x), multiplied(matrix, x), x.index_select(0, rows)

    @staticmethod
    def backward(
        ctx: Any, of_own: Tensor | None, of_sums: Tensor | None, of_rows: Tensor | None
    ) -> tuple[None, None, Tensor, None]:
        (rows,) = ctx.saved_tensors
        if of_sums is None:
            one = next(one for one in (of_own, of_rows) if one is not None)
            of_sums = one.new_zeros(ctx.transpose.shape[1], one.shape[1])
        found = multiplied(ctx.transpose, of_sums.float(), None if of_own is None else of_own.float())
        if of_rows is not None:
            found.index_add_(0, rows, of_rows.float())
        return None, None, found, None


class _MeanOfLayers(torch.autograd.Function):
    """(x + A x + ... + A^K x) / (K + 1); the gradient of x is the same of the gradient and A's transpose."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transpose: Tensor, x: Tensor, layers: int) -> Tensor:
        ctx.transpose, ctx.layers = transpose, layers
        return _mean_of_layers(matrix, x, layers)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor, None]:
        return None, None, _mean_of_layers(ctx.transpose, gradient.float(), ctx.layers), None


class _MeanOverTables(torch.autograd.Function):
    """The mean of layers from two tables to two tables, and their gradients likewise. Nothing is copied but the first
    layer's input."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, transpose: Tensor, first: Tensor, second: Tensor, layers: int
    ) -> tuple[Tensor, Tensor]:
        ctx.transpose, ctx.layers = transpose, layers
        return _mean_over_tables(matrix, first, second, layers)

    @staticmethod
    def backward(ctx: Any, of_first: Tensor, of_second: Tensor) -> tuple[None, None, Tensor, Tensor, None]:
        of_tables = _mean_over_tables(ctx.transpose, of_first.float(), of_second.float(), ctx.layers)
        return None, None, *of_tables, None


def _mean_over_tables(matrix: Tensor, first: Tensor, second: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    x, scale = torch.cat([first[:-1], second[:-1]]), 1 / (layers + 1)
    found = x
    for _ in range(layers - 1):
        found = multiplied(matrix, found, x)
    results, start = (torch.empty_like(first), torch.empty_like(second)), 0
    whole = None if _has_kernel(x) else multiplied(matrix, found, x, scale)
    for result in results:
        rows = slice(start, start + len(result) - 1)
        if whole is None:
            _multiply(matrix, found, x[rows], scale, result[:-1], rows)
        else:
            result[:-1] = whole[rows]
        result[-1] = 0
        start = rows.stop
    return results


def _mean_of_layers(matrix: Tensor, x: Tensor, layers: int) -> Tensor:
    found = x
    for layer in range(1, layers + 1):
        found = multiplied(matrix, found, x, 1 / (layers + 1) if layer == layers else 1.0)
    return found


def multiplied(matrix: Tensor, x: Tensor, base: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """scale * (base + matrix @ x) of a CSR matrix [N, M], x [M, D] and base [N, D] (None: zeros), without a gradient:
    float32 [N, D]. On the CPU a compiled loop does it in one pass if D is a multiple of 16, otherwise torch does."""
    if _has_kernel(x):
        out = torch.empty(matrix.shape[0], x.shape[1])
        _multiply(matrix, x, base, scale, out, slice(0, len(out)))
        return out
    with torch.autocast(x.device.type, enabled=False):
        found = matrix @ x.contiguous()
    found = found if base is None else found + base
    return found if scale == 1 else found * scale


def _has_kernel(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] % LANES == 0


def _multiply(matrix: Tensor, x: Tensor, base: Tensor | None, scale: float, out: Tensor, rows: slice) -> None:
    """`multiplied` for some rows of the matrix by the compiled loop; out: [rows, D], contiguous."""
    from kgrec.nn import sparse_kernels

    ptr = matrix.crow_indices()[rows.start : rows.stop + 1]
    of_matrix = (one.numpy() for one in (ptr, matrix.col_indices(), matrix.values()))
    base = x[:0] if base is None else base
    of_x, of_base = (one.detach().contiguous().numpy() for one in (x, base))
    threads = torch.get_num_threads()
    sparse_kernels.multiply(*of_matrix, of_x, of_base, np.float32(scale), threads, out.numpy())


def row_sums(ptr: Tensor, column: Tensor, value: Tensor, x: Tensor) -> Tensor:
    """The product of a CSR matrix with x [n, D]: float32 [T, D]. For a matrix that is used only once: it builds no
    transpose. ptr: LongTensor [T + 1]; column: LongTensor [E]; value: FloatTensor [E], which gets no gradient.

    >>> row_sums(torch.tensor([0, 2, 2]), torch.tensor([0, 2]), torch.tensor([1.0, 0.5]), torch.eye(3)).tolist()
    [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    total: Tensor = _RowSums.apply(ptr, column, value.float(), x.float())
    return total


class _RowSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ptr: Tensor, column: Tensor, value: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(ptr, column, value)
        ctx.size = x.shape
        out = x.new_zeros(len(ptr) - 1, x.shape[1])
        if x.device.type == "cpu":
            from kgrec.nn import vector_kernels

            vector_kernels.add_rows(*(t.detach().contiguous().numpy() for t in (ptr, column, value, x, out)))
            return out
        row = torch.arange(len(out), device=x.device).repeat_interleave(ptr.diff())
        return out.index_add_(0, row, x[column] * value.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, Tensor]:
        ptr, column, value = ctx.saved_tensors
        of_x = gradient.new_zeros(ctx.size)
        if gradient.device.type == "cpu":
            from kgrec.nn import vector_kernels

            vector_kernels.add_rows_back(
                *(t.detach().contiguous().numpy() for t in (ptr, column, value, gradient, of_x))
            )
            return None, None, None, of_x
        row = torch.arange(len(gradient), device=gradient.device).repeat_interleave(ptr.diff())
        return None, None, None, of_x.index_add_(0, column, gradient[row] * value.unsqueeze(1))


def symmetric(known: Graph) -> Adjacency:
    """D^-1/2 A D^-1/2, [U + I, U + I], of the users and items of one relation; repeated pairs count once. Users come
    first, then items (He et al. 2020, eq. 3)."""
    must_fit(
        WHOLE * known.num_edges,
        f"propagation over all {known.num_edges:,} {known.target[1]!r} edges",
        "choose a model that samples: mf, sasrec, or kgat with --set fanouts=[10,10,5]",
    )
    user, item = (known.edge_index[end] for end in (0, 1))
    num_users, num_items = (len(known.range(node_type)) for node_type in (known.target[0], known.target[2]))
    pair = torch.unique(user * num_items + item)
    user, item = pair // num_items, pair % num_items + num_users
    row, column = torch.cat([user, item]), torch.cat([item, user])
    order = torch.argsort(row, stable=True)
    row, column = row[order], column[order]
    degree = torch.bincount(row, minlength=num_users + num_items)
    share = degree.clamp(min=1).double().rsqrt()
    return Adjacency(
        functional.pad(degree.cumsum(0), (1, 0)), column, share[row] * share[column], num_users + num_items
    )
