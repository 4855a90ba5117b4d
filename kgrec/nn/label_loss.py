"""Losses for ratings and clicks, over edges with labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kgrec.graph import Graph
from kgrec.graph.schema import CLICK
from kgrec.model import AnyTask
from kgrec.nn.losses import logistic, squared_error
from kgrec.samplers import Batch


def label_of(task: AnyTask) -> str | None:
    """The name of the edge feature that is the label of a task; None for a task without labels."""
    return CLICK if task == "ctr" else None


def mean_score(known: Graph, task: AnyTask) -> Tensor:
    """The prediction for an edge about which nothing is known: the mean rating, or the logit of the share of clicks; 0
    for a ranking and for a graph without edges. FloatTensor []. Raises KgrecError for the task ctr if the edges have no
    labels."""
    if not known.num_edges or task == "ranking":
        return torch.tensor(0.0)
    return known.clicks().mean().logit(eps=1e-6) if task == "ctr" else known.weight.mean()


def label_loss(task: AnyTask, score: Tensor, batch: Batch) -> Tensor:
    """The loss of scores [n]: for ratings their mean squared error, for clicks the cross-entropy with the scores as
    logits."""
    if task == "ctr":
        assert batch.label is not None
        return logistic(score, batch.label)
    assert batch.weight is not None
    return squared_error(score, batch.weight)


def squares(model: nn.Module) -> Tensor:
    """The sum of the squares of all parameters: a scalar."""
    return torch.stack([parameter.square().sum() for parameter in model.parameters()]).sum()
