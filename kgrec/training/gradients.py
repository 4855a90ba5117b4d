"""Gradients of several ranks: their mean, where rows that no rank has touched do not travel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kgrec import ranks
from kgrec.model import Recommender
from kgrec.nn.row_shards import bits_of, rows_of_bits, shards_of

LEAST_ROWS = 256  #: tables of fewer rows always travel whole


def must_agree(model: Recommender) -> None:
    """Raise KgrecError if the ranks' parameters differ, for example because a model drew random numbers by itself."""
    shards = shards_of(model)
    sums = [own.detach().double().sum() for name, own in model.named_parameters() if name not in shards]
    mine = torch.stack([*sums, torch.zeros((), dtype=torch.double, device=sums[0].device if sums else None)])
    every = ranks.every(mine)
    if not torch.equal(every, mine.expand_as(every)):
        raise ranks.RankError(
            "the processes have different weights; a model may take random numbers only from its batches, so change "
            "the model, or train in one process (--devices 1)"
        )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of a gradient that this rank has touched: all others are zeros."""

    parameter: nn.Parameter
    row: Tensor  #: LongTensor [n], distinct
    values: Tensor  #: [n, *D]


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its mean over ranks. A missing gradient counts as 0. All ranks get the same numbers,
    since they add up in the order of ranks.

    Of a sparse gradient, and of a dense one of a table of which the ranks have touched few rows, only these rows are
    sent, each as its number and its values. All other gradients are sent in one message. Which way a gradient goes is
    decided by all ranks together, by which takes fewer bytes.
    """
    if ranks.world() == 1:
        return
    tables = [one for one in parameters if (one.dim() == 2 and len(one) >= LEAST_ROWS) or _is_sparse(one)]
    touched = [_touched(one) for one in tables]
    facts = torch.tensor([(len(one.row), _is_sparse(one.parameter)) for one in touched]).view(-1, 2)
    count, sparse = ranks.every(facts).unbind(2)
    by_rows = [bool(sparse[:, place].any()) or _is_less(one, count[:, place]) for place, one in enumerate(tables)]
    chosen = {id(one) for one, few in zip(tables, by_rows) if few}
    _average_whole([one for one in parameters if id(one) not in chosen])
    few = torch.tensor(by_rows, dtype=torch.bool)
    _average_rows([one for one, is_few in zip(touched, by_rows) if is_few], count[:, few], sparse.any(0)[few].tolist())


def _is_sparse(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and parameter.grad.is_sparse


def _touched(parameter: nn.Parameter) -> _Rows:
    gradient = parameter.grad
    if gradient is None:
        return _Rows(parameter, torch.empty(0, dtype=torch.long), parameter.detach()[:0])
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        return _Rows(parameter, gradient.indices()[0], gradient.values())
    row = (gradient != 0).any(1).nonzero().squeeze(1)
    return _Rows(parameter, row, gradient[row])


def _is_less(parameter: nn.Parameter, count: Tensor) -> bool:
    """Whether rows take fewer bytes than the whole gradient. count: LongTensor [W], rows of each rank.

    Each rank receives the rows of all others, filled up to the longest; of a whole gradient it sends and receives
    2 (W - 1) / W."""
    return len(count) * int(count.max()) * (parameter[0].numel() + 1) < 2 * parameter.numel()


def _average_whole(parameters: Sequence[nn.Parameter]) -> None:
    if not parameters:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = ranks.add(torch.cat([one.grad.reshape(-1) for one in parameters if one.grad is not None])) / ranks.world()
    for parameter, part in zip(parameters, flat.split([one.numel() for one in parameters])):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)


def _average_rows(tables: Sequence[_Rows], count: Tensor, sparse: Sequence[bool]) -> None:
    """Exchange the rows of all tables in one message. count: LongTensor [W, tables], rows of each rank. sparse: which
    gradients are sparse."""
    if not tables or not int(count.max()):
        return
    kind = torch.float64 if any(one.values.dtype == torch.float64 for one in tables) else torch.float32
    mine = torch.cat([part for one in tables for part in (bits_of(one.row, kind), one.values.to(kind).flatten())])
    sent = mine.new_zeros(max(_numbers(tables, of_rank) for of_rank in count.tolist()))
    sent[: len(mine)] = mine
    found: list[list[_Rows]] = [_cut(one, tables, of_rank) for one, of_rank in zip(ranks.every(sent), count.tolist())]
    for own, every, is_sparse in zip(tables, zip(*found), sparse):
        _set_mean(own.parameter, every, is_sparse)


def _numbers(tables: Sequence[_Rows], counts: Sequence[int]) -> int:
    """How many numbers a rank's message has. counts: its rows of each table."""
    return sum(count * (1 + _width(one)) for one, count in zip(tables, counts))


def _width(one: _Rows) -> int:
    return one.parameter[0].numel()


def _cut(message: Tensor, tables: Sequence[_Rows], counts: Sequence[int]) -> list[_Rows]:
    """The rows in a rank's message. counts: how many there are of each table."""
    found, start = [], 0
    for one, count in zip(tables, counts):
        row = rows_of_bits(message[start : start + count])
        start += count
        values = message[start : start + count * _width(one)].view(count, *one.parameter.shape[1:])
        start += count * _width(one)
        found.append(_Rows(one.parameter, row, values))
    return found


def _set_mean(parameter: nn.Parameter, every: Sequence[_Rows], is_sparse: bool) -> None:
    """Set a parameter's gradient to the sum of all ranks' rows over the number of ranks, in the order of ranks."""
    row, world = torch.cat([one.row for one in every]), len(every)
    if is_sparse:
        values = torch.cat([one.values for one in every]).to(parameter.dtype) / world
        parameter.grad = torch.sparse_coo_tensor(
            row.unsqueeze(0), values, parameter.shape, check_invariants=False
        ).coalesce()
        return
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad[row] = 0
    for one in every:
        parameter.grad[one.row] += one.values.to(parameter.dtype) / world
