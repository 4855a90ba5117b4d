"""Products of rows with one of several matrices each."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32  #: rows of one group that are multiplied at once


def grouped_product(x: Tensor, group: Tensor, weight: Tensor) -> Tensor:
    """x[n] @ weight[group[n]]. x: [n, D]; group: LongTensor [n]; weight: [G, D, K]. Returns [n, K].

    Rows are put in order of their groups and cut into blocks of one group each, so a matrix is read once a block and
    not once a row, and no loop visits the groups; blocks that are not full waste less than BLOCK rows a group.

    >>> x, weight = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[[10.0]], [[100.0]]])
    >>> grouped_product(x, torch.tensor([1, 0, 1]), weight).flatten().tolist()
    [100.0, 20.0, 300.0]
    """
    groups = weight.shape[0]
    order = torch.argsort(group, stable=True)
    size = torch.bincount(group, minlength=groups)
    blocks = (size + BLOCK - 1) // BLOCK
    of_block = torch.arange(groups, device=x.device).repeat_interleave(blocks)  # [blocks]
    ordered = group[order]
    shift = (blocks.cumsum(0) - blocks) * BLOCK - (size.cumsum(0) - size)  # from a row's place to its slot, by group
    slot = torch.arange(len(group), device=x.device) + shift[ordered]
    rows = x.new_zeros(len(of_block) * BLOCK, x.shape[1]).index_copy(0, slot, x.index_select(0, order))
    product = torch.bmm(rows.view(len(of_block), BLOCK, -1), weight.index_select(0, of_block)).flatten(0, 1)
    back = torch.empty_like(order).index_copy_(0, order, slot)
    return product.index_select(0, back)
