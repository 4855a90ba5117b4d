"""Devices and processes: where training runs, and what its processes agree on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kgrec.errors import KgrecError
from kgrec.model import Recommender
from kgrec.training.config import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def choose_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda or cuda:N. Raises KgrecError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise KgrecError(f"no device {name!r}; say auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise KgrecError(f"device {name!r} is not supported; say auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise KgrecError("no CUDA device is here; say --device cpu")
    return device


def make_fabric(config: TrainingConfig) -> Fabric:
    """The Fabric of a config. Raises KgrecError where the device is not there."""
    device = choose_device(config.device)
    from lightning_fabric import Fabric  # seconds to import, and only training needs it

    devices: Any = [device.index] if device.index is not None and config.devices == 1 else config.devices
    strategy = "auto" if config.devices == 1 else "ddp_spawn"
    return Fabric(accelerator=device.type, devices=devices, strategy=strategy, precision=config.precision)


def must_agree(model: Recommender, fabric: Fabric) -> None:
    """Raise KgrecError where the ranks' parameters differ: a model drew random numbers outside its batches, say."""
    mine = torch.stack([parameter.detach().double().sum() for parameter in model.parameters()])
    every = fabric.all_gather(mine)
    if not torch.equal(every, mine.expand_as(every)):
        raise KgrecError("the processes' weights have come apart; all that a model draws must come from its batches")


def average_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """The mean over ranks of every gradient: dense ones in one message, sparse ones gathered; a missing one is 0."""
    dense = [p for p in parameters if p.grad is None or not p.grad.is_sparse]
    for parameter in dense:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if dense:
        flat = torch.cat([p.grad.reshape(-1) for p in dense if p.grad is not None])
        flat = fabric.all_reduce(flat, reduce_op="mean")
        for parameter, part in zip(dense, flat.split([p.numel() for p in dense])):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = _average_sparse(parameter.grad.coalesce(), fabric)


def _average_sparse(gradient: Tensor, fabric: Fabric) -> Tensor:
    longest = int(fabric.all_reduce(torch.tensor(gradient._nnz(), device=gradient.device), reduce_op="max"))
    rows = torch.zeros(longest, dtype=torch.long, device=gradient.device)
    values = torch.zeros(longest, *gradient.values().shape[1:], dtype=gradient.dtype, device=gradient.device)
    rows[: gradient._nnz()], values[: gradient._nnz()] = gradient.indices()[0], gradient.values()
    rows, values = fabric.all_gather(rows), fabric.all_gather(values)
    return torch.sparse_coo_tensor(
        rows.reshape(1, -1), values.flatten(0, 1) / fabric.world_size, gradient.shape
    ).coalesce()
