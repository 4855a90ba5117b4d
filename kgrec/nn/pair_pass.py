"""The scores of a perceptron on pairs as one step of autograd: one pass each way, mostly in place, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kgrec.nn.cpu_products import kept_for_gradients, layer, layer_gradients
from kgrec.nn.dropout import LEVELS, draw_bytes


def pair_scores(user: Tensor, item: Tensor, row: Tensor | None, layers: Sequence[Tensor], dropped: int) -> Tensor:
    """Scores of users with lists of items: [B, C]. user: [B, D]; item: [B, C, D], or with `row`, LongTensor [B, C],
    rows of a table [N, D]. layers: weight and bias of the first layer's part of users, the weight of that of items,
    weight and bias of each further layer, and those of the output; all float32. dropped: how many of 256 values are
    dropped behind each layer. The numbers are those of the layers one after another."""
    found: Tensor = _PairScores.apply(user, item, row, dropped, *layers)
    return found


def scale_of(dropped: int) -> np.float32:
    """What dropout multiplies values by that it keeps. dropped: how many of 256 it does not."""
    return np.float32(LEVELS / (LEVELS - dropped))


def outputs_of_layers(
    users: tuple[Tensor, Tensor], items: tuple[Tensor, Tensor], rest: Sequence[Tensor], dropped: int
) -> list[Tensor]:
    """What each layer but the last makes of pairs, after ReLU and dropout: [B C, D] each. users: the first layer's
    parts of users, [*, D], and which of them each list has, LongTensor [B]; items: the same of items, LongTensor
    [B, C]; rest: weight and bias of each further layer, and those of the output. None has a gradient."""
    from kgrec.nn import vector_kernels

    scale, (number, width) = scale_of(dropped), (items[1].numel(), items[0].shape[1])
    first = torch.empty(*items[1].shape, width)
    draw = draw_bytes(first.numel()).view(first.shape) if dropped else torch.empty(len(first), 0, 0).byte()
    arrays = [one.contiguous().numpy() for one in (*users, *items, draw)]
    vector_kernels.sum_relu_dropout(*arrays, dropped, scale, first.numpy())
    outputs = [first.view(number, width)]
    for weight, bias in zip(rest[:-2:2], rest[1:-2:2]):
        x = layer(outputs[-1], weight, bias)
        if dropped:
            flat = x.view(-1).numpy()
            vector_kernels.relu_dropout(flat, draw_bytes(x.numel()).numpy(), dropped, scale, flat)
        else:
            x = torch.relu_(x)
        outputs.append(x)
    return outputs


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, user: Tensor, item: Tensor, row: Tensor | None, dropped: int, *layers: Tensor) -> Tensor:
        ctx.scale, ctx.each = scale_of(dropped), row is None
        of_user, bias, of_item, *rest = (weight.detach() for weight in layers)
        user, flat = user.detach().contiguous(), item.detach().reshape(-1, item.shape[-1])
        if row is None:
            row = torch.arange(len(flat)).view(item.shape[:2])
        mine, other = layer(user, of_user, bias), layer(flat, of_item)
        user, flat = (kept_for_gradients(one, len(of_item)) for one in (user, flat))
        outputs = outputs_of_layers((mine, torch.arange(len(user))), (other, row), rest, dropped)
        ctx.save_for_backward(user, flat, row, *layers, *outputs)
        ctx.number, ctx.shape = len(layers), item.shape
        return torch.addmm(rest[-1], outputs[-1], rest[-2].T).view(row.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from kgrec.nn import vector_kernels

        user, item, row, *saved = ctx.saved_tensors
        layers, outputs = [one.detach() for one in saved[: ctx.number]], saved[ctx.number :]
        of_user, _, of_item, *rest = layers
        found: list[Tensor | None] = []  # gradients of the layers, the last one first
        column = gradient.reshape(-1, 1)
        found += [column.sum(0), column.T @ outputs[-1]]
        given = column * rest[-2]
        for at in range(len(outputs) - 1, 0, -1):
            made, flat = outputs[at].view(-1).numpy(), given.view(-1).numpy()
            vector_kernels.relu_dropout_back(made, ctx.scale, flat, flat)
            of_rows, of_weight = layer_gradients(given, outputs[at - 1], rest[2 * at - 2])
            found += [given.sum(0), of_weight]
            assert of_rows is not None
            given = of_rows
        first, into = outputs[0].view(*row.shape, outputs[0].shape[1]), given.view(*row.shape, given.shape[1])
        of_mine, of_other = torch.zeros(len(user), given.shape[1]), given
        if ctx.each:
            ends = first.numpy(), ctx.scale, into.numpy(), of_mine.numpy()
            vector_kernels.sum_relu_dropout_back_in_place(*ends)
        else:
            of_other = torch.zeros(len(item), given.shape[1])
            ends = first.numpy(), ctx.scale, into.numpy(), row.numpy()
            vector_kernels.sum_relu_dropout_back(*ends, of_mine.numpy(), of_other.numpy())
        by_user, by_item = ctx.needs_input_grad[:2]
        item_vectors, item_weight = layer_gradients(of_other, item, of_item, (by_item, True))
        user_vectors, user_weight = layer_gradients(of_mine, user, of_user, (by_user, True))
        found += [item_weight, of_mine.sum(0), user_weight]
        if item_vectors is not None:
            item_vectors = item_vectors.view(ctx.shape)
        return user_vectors, item_vectors, None, None, *found[::-1]
