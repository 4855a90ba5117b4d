"""Products of rows with matrices, where each row chooses one of several matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 32  #: rows of one group that are multiplied at once


def grouped_product(x: Tensor, group: Tensor, weight: Tensor) -> Tensor:
    """x[n] @ weight[group[n]]. x: [n, D]; group: LongTensor [n]; weight: [G, D, K]. Returns [n, K].

    Rows are sorted by group and cut into blocks of one group each. So a matrix is read once for each block and not for
    each row, and there is no loop over groups. Blocks that are not full waste less than BLOCK rows for each group.

    >>> x, weight = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[[10.0]], [[100.0]]])
    >>> grouped_product(x, torch.tensor([1, 0, 1]), weight).flatten().tolist()
    [100.0, 20.0, 300.0]
    """
    product: Tensor = _GroupedProduct.apply(x.to(weight.dtype), weight, *_blocks(group, len(weight)))
    return product


def _blocks(group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """How rows are put into blocks: the row in each slot, n for an empty slot, LongTensor [blocks * BLOCK]; the slot of
    each row, LongTensor [n]; the group of each block, LongTensor [blocks]."""
    order = torch.argsort(group, stable=True)
    size = torch.bincount(group, minlength=groups)
    blocks = (size + BLOCK - 1) // BLOCK
    of_block = torch.arange(groups, device=group.device).repeat_interleave(blocks)
    shift = (blocks.cumsum(0) - blocks) * BLOCK - (size.cumsum(0) - size)  # from a position in the order to a slot
    slot = torch.arange(len(group), device=group.device) + shift[group[order]]
    row_in = torch.full((len(of_block) * BLOCK,), len(group), device=group.device).index_copy_(0, slot, order)
    return row_in, torch.empty_like(order).index_copy_(0, order, slot), of_block


class _GroupedProduct(torch.autograd.Function):
    """Forward and backward both gather rows into blocks and out of them; rows are never scattered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, row_in: Tensor, slot_of: Tensor, of_block: Tensor) -> Tensor:
        rows = _in_blocks(x, row_in)
        ctx.save_for_backward(rows, weight, row_in, slot_of, of_block)
        return torch.bmm(rows, weight.index_select(0, of_block)).flatten(0, 1).index_select(0, slot_of)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        rows, weight, row_in, slot_of, of_block = ctx.saved_tensors
        gradients = _in_blocks(gradient.to(rows.dtype), row_in)  # under autocast the product may be in 16 bits
        matrices = weight.index_select(0, of_block).transpose(1, 2)
        of_x = torch.bmm(gradients, matrices).flatten(0, 1).index_select(0, slot_of)
        of_weight = torch.zeros_like(weight).index_add_(0, of_block, torch.bmm(rows.transpose(1, 2), gradients))
        return of_x, of_weight, None, None, None


def _in_blocks(x: Tensor, row_in: Tensor) -> Tensor:
    """Rows [n, D] put into their slots: [blocks, BLOCK, D], zeros in empty slots."""
    return torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, row_in).view(-1, BLOCK, x.shape[1])
