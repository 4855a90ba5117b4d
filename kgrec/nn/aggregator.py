"""Aggregators: how a layer combines a node's own vector with the sum of its neighbors' vectors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.cpu_products import ROWS as FILLED
from kgrec.nn.cpu_products import by_rows
from kgrec.nn.dropout import LEVELS, Dropout, draw_bytes

#: How a node's vector and the sum of its neighbors' vectors are combined (Wang et al. 2019, eqs. 6 to 8)
AggregatorName = Literal["bi-interaction", "gcn", "graphsage"]
SLOPE = 0.2  #: slope of LeakyReLU below 0, as in the authors' code
ROWS = 1 << 12  #: nodes whose vectors are combined at once on the CPU: 1 MiB for 64 numbers each


class Aggregator(nn.Module):
    """One layer: from nodes' vectors e [n, D] and the sums of their neighbors' vectors e_N [n, D] to its output [n, K].

    gcn: LeakyReLU(W (e + e_N)); graphsage: LeakyReLU(W [e || e_N]); bi-interaction: LeakyReLU(W1 (e + e_N)) +
    LeakyReLU(W2 (e * e_N)) (Wang et al. 2019, eqs. 6 to 8). Dropout is applied to the output. On the CPU,
    bi-interaction is computed block by block of rows, and its elementwise parts are compiled, so that memory is read
    and written a few times only.
    """

    def __init__(self, name: AggregatorName, dim: int, out: int, dropout: float) -> None:
        super().__init__()
        self.name, self.width, self.dropout = name, out, Dropout(dropout)
        self.first = nn.Linear(2 * dim if name == "graphsage" else dim, out)
        self.second = nn.Linear(dim, out) if name == "bi-interaction" else None

    def forward(self, own: Tensor, neighbors: Tensor) -> Tensor:
        found: Tensor
        floats = own.dim() == 2 and own.dtype == neighbors.dtype == torch.float32
        if self.second is not None and floats and own.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                weights = self.first.weight, self.first.bias, self.second.weight, self.second.bias
                found = _BiInteraction.apply(own, neighbors, *weights, self.dropout.levels_dropped())
            return found
        return self.by_autograd(own, neighbors)

    def by_autograd(self, own: Tensor, neighbors: Tensor) -> Tensor:
        """The same by torch's own operations, which is quicker for a few nodes: no threads are started for them."""
        found: Tensor
        joined = torch.cat([own, neighbors], -1) if self.name == "graphsage" else own + neighbors
        found = functional.leaky_relu(self.first(joined), SLOPE)
        if self.second is not None:
            found = found + functional.leaky_relu(self.second(own * neighbors), SLOPE)
        dropped: Tensor = self.dropout(found)
        return dropped


class _BiInteraction(torch.autograd.Function):
    """LeakyReLU(first(own + neighbors)) + LeakyReLU(second(own * neighbors)), then dropout with the probability dropped
    / 256. Some rows are computed at a time, so that what lies between two steps stays in the processor's cache. For the
    gradient only a byte for each number of the output is kept, and the sums and products are made again."""

    @staticmethod
    def forward(
        ctx: Any,
        own: Tensor,
        neighbors: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
        dropped: int,
    ) -> Tensor:
        from kgrec.nn import vector_kernels

        own, neighbors = own.contiguous(), neighbors.contiguous()
        size = len(own) * len(first)
        draw = draw_bytes(size) if dropped else torch.zeros(min(ROWS, len(own)) * len(first), dtype=torch.uint8)
        out, kind = own.new_empty(len(own), len(first)), torch.empty(size, dtype=torch.uint8)
        (total, product), learns = _rooms(own, 2, own.shape[1]), any(ctx.needs_input_grad)
        for rows in _blocks(len(own)):
            here, at = slice(rows.stop - rows.start), slice(rows.start * len(first), rows.stop * len(first))
            vector_kernels.sum_and_product(*_flat(own[rows], neighbors[rows], total[here], product[here]))
            of_total = _product(learns, total[here], first, first_bias)
            of_product = _product(learns, product[here], second, second_bias)
            scale = LEVELS / (LEVELS - dropped)
            results, drawn = (*_flat(out[rows]), kind[at].numpy()), draw[at if dropped else slice(at.stop - at.start)]
            vector_kernels.leaky_sum(*_flat(of_total, of_product), SLOPE, drawn.numpy(), dropped, scale, *results)
        ctx.save_for_backward(own, neighbors, first, second, kind)
        ctx.dropped = dropped
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, None]:
        from kgrec.nn import vector_kernels

        own, neighbors, first, second, kind = ctx.saved_tensors
        gradient, width = gradient.contiguous(), len(first)
        of_own, of_neighbors = torch.empty_like(own), torch.empty_like(neighbors)
        of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
        of_first_bias, of_second_bias = first.new_zeros(width), second.new_zeros(width)
        (total, product), (a, b) = _rooms(own, 2, own.shape[1]), _rooms(own, 2, width)
        for rows in _blocks(len(own)):
            here, at = slice(rows.stop - rows.start), slice(rows.start * width, rows.stop * width)
            scale = LEVELS / (LEVELS - ctx.dropped)
            of_sums = _flat(gradient[rows], a[here], b[here])
            vector_kernels.leaky_sum_back(kind[at].numpy(), SLOPE, scale, *of_sums)
            vector_kernels.sum_and_product(*_flat(own[rows], neighbors[rows], total[here], product[here]))
            of_first.addmm_(a[here].T, total[here])
            of_second.addmm_(b[here].T, product[here])
            of_first_bias += a[here].sum(0)
            of_second_bias += b[here].sum(0)
            of_total, of_product = _product(True, a[here], first.T), _product(True, b[here], second.T)
            found = of_own[rows], of_neighbors[rows]
            ends = own[rows], neighbors[rows]
            vector_kernels.sum_and_product_back(*_flat(*ends, of_total, of_product, *found))
        return of_own, of_neighbors, of_first, of_first_bias, of_second, of_second_bias, None


def _product(learns: bool, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A layer's product, of the library that is the faster one where it is learned from (see cpu_products)."""
    return by_rows(rows, weight, bias, multiple=FILLED) if learns else functional.linear(rows, weight, bias)


def _blocks(number: int) -> list[slice]:
    return [slice(start, min(start + ROWS, number)) for start in range(0, number, ROWS)]


def _rooms(like: Tensor, number: int, width: int) -> Tensor:
    """Memory for some rows that are computed at a time: [number, rows, width]."""
    return like.new_empty(number, min(ROWS, len(like)), width)


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().reshape(-1).numpy() for tensor in tensors]
