"""Optimizers that models name in their objectives."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from kgrec.large_pages import zeros_in_large_pages


class _Uncompiled:
    """What torch's optimizers do, without torch's compiler. They import it to keep it from compiling them, which takes
    a second of each process that trains, and kgrec compiles nothing by it."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(_Uncompiled, torch.optim.Adam):
    """torch's Adam, without importing its compiler."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Uncompiled, torch.optim.AdamW):
    """torch's AdamW, without importing its compiler."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(_Uncompiled, torch.optim.SGD):
    """torch's gradient descent, without importing its compiler."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def fused_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam in one fused kernel, on CPU and CUDA alike."""
    return Adam(parameters, lr=lr, fused=True)


def sgd(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Plain gradient descent."""
    return SGD(parameters, lr=lr)


class RowAdam(_Uncompiled, torch.optim.SparseAdam):
    """SparseAdam, with one compiled pass over the touched rows on the CPU.

    torch's goes over them some twenty times, and sums the gradients of equal rows before. State and settings are those
    of SparseAdam, so either can go on with what the other has saved.

    >>> table = nn.Parameter(torch.zeros(4, 2))
    >>> optimizer = RowAdam([table], lr=1.0)
    >>> nn.functional.embedding(torch.tensor([2, 0, 2]), table, sparse=True).sum().backward()
    >>> optimizer.step()
    >>> table.round().tolist()
    [[-1.0, -1.0], [0.0, 0.0], [-1.0, -1.0], [0.0, 0.0]]
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step over the rows with a gradient. closure: must be None, as kgrec computes the loss beforehand."""
        touched = [one for group in self.param_groups for one in group["params"] if one.grad is not None]
        if closure is not None or not all(_is_compiled(one) for one in touched):
            return super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_rows(parameter, group)
        return None

    def _step_rows(self, table: nn.Parameter, group: dict[str, Any]) -> None:
        from kgrec.row_updates import adam_rows

        state, gradient = self.state[table], table.grad
        assert gradient is not None
        if not state:
            state |= {"step": 0} | {name: zeros_in_large_pages(table.detach()) for name in ("exp_avg", "exp_avg_sq")}
        state["step"] += 1
        row, order = gradient._indices()[0].sort(stable=True)
        (beta1, beta2), number = group["betas"], state["step"]
        size = group["lr"] * math.sqrt(1 - beta2**number) / (1 - beta1**number)
        sign = -1.0 if group.get("maximize") else 1.0
        tables = (one.detach().numpy() for one in (table, state["exp_avg"], state["exp_avg_sq"]))
        of_rows = row.numpy(), order.numpy(), gradient._values().numpy()
        adam_rows(*of_rows, *tables, beta1, beta2, group["eps"], size, sign)


def _is_compiled(table: nn.Parameter) -> bool:
    """Whether the compiled step serves this table and its gradient."""
    gradient = table.grad
    return (
        gradient is not None
        and gradient.layout == torch.sparse_coo
        and gradient.sparse_dim() == 1
        and table.dim() == 2
        and table.is_contiguous()
        and gradient._values().is_contiguous()
        and table.device.type == "cpu"
        and table.dtype == gradient.dtype == torch.float32
    )


class SparseAndDense:
    """RowAdam for tables whose gradients are sparse, and Adam for all other parameters, as one optimizer."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *tables: nn.Parameter,
        dense: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer] = fused_adam,
        **how: Any,
    ) -> None:
        """dense: makes the optimizer of all parameters but the tables; how: RowAdam's own settings."""
        rest = [parameter for parameter in parameters if not any(parameter is table for table in tables)]
        self.parts: list[torch.optim.Optimizer] = [RowAdam(list(tables), lr=lr, **how)]
        if rest:
            self.parts.append(dense(rest, lr))
        self.state: dict[Any, Any] = self.parts[0].state  # one for both: they have no parameter in common
        for part in self.parts:
            part.state = self.parts[0].state

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()
