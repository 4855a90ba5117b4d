"""Losses that several models share. Every one is a mean over examples and returns a scalar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(positive - negative), mean. positive [*S], negative [*S, K] (Rendle et al. 2009, eq. 4).

    >>> import torch
    >>> round(bpr(torch.tensor([1.0]), torch.tensor([[1.0]])).item(), 4)  # log 2
    0.6931
    """
    return -F.logsigmoid(positive.unsqueeze(-1) - negative).mean()


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """(predicted - wanted)^2, mean. Both [B].

    >>> import torch
    >>> squared_error(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 5.0])).item()
    0.5
    """
    return (predicted - wanted).square().mean()
