"""Optimizers that models name in their objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def fused_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam in one fused kernel, on CPU and CUDA alike."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


def sgd(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Plain gradient descent."""
    return torch.optim.SGD(parameters, lr=lr)


class SparseAndDense:
    """SparseAdam for tables whose gradients are sparse, and Adam for all other parameters, as one optimizer."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *tables: nn.Parameter,
        dense: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer] = fused_adam,
        **how: Any,
    ) -> None:
        """dense: makes the optimizer of all parameters but the tables; how: SparseAdam's own settings."""
        rest = [parameter for parameter in parameters if not any(parameter is table for table in tables)]
        self.parts: list[torch.optim.Optimizer] = [torch.optim.SparseAdam(list(tables), lr=lr, **how)]
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
