"""Ratings and clicks: what models of both tasks minimise over labelled edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.graph.schema import CLICK
from kgrec.model import AnyTask
from kgrec.nn.losses import logistic, squared_error
from kgrec.samplers import Batch


def label_of(task: AnyTask) -> str | None:
    """The edge feature that seeds must carry for a task."""
    return CLICK if task == "ctr" else None


def mean_score(known: Graph, task: AnyTask) -> Tensor:
    """What is predicted of an edge of which nothing is known: the mean rating, or the logit of the share of clicks; 0
    in a ranking, and without edges. FloatTensor []. Raises KgrecError where clicks are asked for and edges have no
    labels."""
    if not known.num_edges or task == "ranking":
        return torch.tensor(0.0)
    return known.clicks().mean().logit(eps=1e-6) if task == "ctr" else known.weight.mean()


def label_loss(task: AnyTask, score: Tensor, batch: Batch) -> Tensor:
    """The mean squared error of scores [n] as ratings, or their cross-entropy as clicks' logits."""
    if task == "ctr":
        assert batch.label is not None
        return logistic(score, batch.label)
    assert batch.weight is not None
    return squared_error(score, batch.weight)


def squares(model: nn.Module) -> Tensor:
    """The sum of the squares of all parameters: a scalar."""
    return torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
