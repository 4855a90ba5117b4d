"""Aggregators: how a layer combines a node's own vector with the sum of its neighbors' vectors."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.dropout import LEVELS, Dropout, draw_bytes

#: How a node's vector and the sum of its neighbors' vectors are combined (Wang et al. 2019, eqs. 6 to 8)
AggregatorName = Literal["bi-interaction", "gcn", "graphsage"]
SLOPE = 0.2  #: slope of LeakyReLU below 0, as in the authors' code


class Aggregator(nn.Module):
    """One layer: from nodes' vectors e [n, D] and the sums of their neighbors' vectors e_N [n, D] to its output [n, K].

    gcn: LeakyReLU(W (e + e_N)); graphsage: LeakyReLU(W [e || e_N]); bi-interaction: LeakyReLU(W1 (e + e_N)) +
    LeakyReLU(W2 (e * e_N)) (Wang et al. 2019, eqs. 6 to 8). Dropout is applied to the output. On the CPU, the
    elementwise parts of bi-interaction are compiled: four passes over memory instead of autograd's twenty.
    """

    def __init__(self, name: AggregatorName, dim: int, out: int, dropout: float) -> None:
        super().__init__()
        self.name, self.width, self.dropout = name, out, Dropout(dropout)
        self.first = nn.Linear(2 * dim if name == "graphsage" else dim, out)
        self.second = nn.Linear(dim, out) if name == "bi-interaction" else None

    def forward(self, own: Tensor, neighbors: Tensor) -> Tensor:
        found: Tensor
        if self.second is not None and own.device.type == "cpu" and own.dtype == neighbors.dtype == torch.float32:
            with torch.autocast("cpu", enabled=False):
                total, product = _SumAndProduct.apply(own, neighbors)
                found = _LeakySum.apply(self.first(total), self.second(product), self.dropout.levels_dropped())
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


class _SumAndProduct(torch.autograd.Function):
    """own + other and own * other, of the same shape."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        from kgrec.nn import vector_kernels

        own, other = own.contiguous(), other.contiguous()
        ctx.save_for_backward(own, other)
        total, product = torch.empty_like(own), torch.empty_like(own)
        vector_kernels.sum_and_product(*_flat(own, other, total, product))
        return total, product

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, of_product: Tensor) -> tuple[Tensor, Tensor]:
        from kgrec.nn import vector_kernels

        of_own, of_other = torch.empty_like(of_total), torch.empty_like(of_total)
        gradients = of_total.contiguous(), of_product.contiguous()
        vector_kernels.sum_and_product_back(*_flat(*ctx.saved_tensors, *gradients, of_own, of_other))
        return of_own, of_other


class _LeakySum(torch.autograd.Function):
    """LeakyReLU(first) + LeakyReLU(second), then dropout with the probability dropped / 256."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, dropped: int) -> Tensor:
        from kgrec.nn import vector_kernels

        draw = draw_bytes(first.numel()) if dropped else torch.zeros(1, dtype=torch.uint8).expand(first.numel())
        ctx.save_for_backward(first, second, draw)
        ctx.dropped, out = dropped, torch.empty_like(first)
        a, b, flat = _flat(first, second, out)
        vector_kernels.leaky_sum(a, b, SLOPE, draw.numpy(), dropped, LEVELS / (LEVELS - dropped), flat)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        from kgrec.nn import vector_kernels

        first, second, draw = ctx.saved_tensors
        of_first, of_second = torch.empty_like(first), torch.empty_like(second)
        scale = LEVELS / (LEVELS - ctx.dropped)
        a, b, g, of_a, of_b = _flat(first, second, gradient.contiguous(), of_first, of_second)
        vector_kernels.leaky_sum_back(a, b, SLOPE, draw.numpy(), ctx.dropped, scale, g, of_a, of_b)
        return of_first, of_second, None


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().reshape(-1).numpy() for tensor in tensors]
