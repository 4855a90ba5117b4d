"""Finds out whether training changes the scores of withheld items, using only the model protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.testing.subject import Subject, built, one_thread, query_of, trainer_of

ROUNDING = 1e-3  #: a gradient by so little of the largest one may be what rounding left of terms that cancel
REGULARISED = 1e-3  #: most share of a gradient that is not parallel to the parameter, if it is only regularisation


def read_by_withheld_alone(subject: Subject, train: Graph) -> dict[str, Tensor]:
    """The entries of each parameter that only the scores of withheld items read: BoolTensors like the parameters.
    Parameters without such entries are left out."""
    assert train.withheld is not None
    model, items = built(subject.name, train, subject.config, seed=0).eval(), subject.items
    model.load_state_dict(subject.model.state_dict())
    inspect.unwrap(type(model).refresh)(model)  # with gradients, so that they pass through what `score` reads
    read = _read if model.score(query_of(train), items).requires_grad else _read_when_moved
    withheld = torch.isin(items, train.withheld)
    by, others = (read(model, query_of(train), some) for some in (items[withheld], items[~withheld]))
    own = {name: (by[name] > ROUNDING) & (others[name] == 0) for name in by}
    return {name: numbers for name, numbers in own.items() if numbers.any()}


def _read(model: Recommender, query: Query, items: Tensor) -> dict[str, Tensor]:
    """The gradient of differences between the items' scores, by the largest one of the parameter: like the
    parameters, from 0 to 1."""
    parameters = dict(model.named_parameters())
    found = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for seed in range(2):  # two orders, because gradients may cancel out by chance in one
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
        difference = _differences(model, query, items[order]).sum()
        gradients = torch.autograd.grad(
            difference, list(parameters.values()), allow_unused=True, retain_graph=True
        )  # the graph is retained, because every score starts from `refresh`
        for name, gradient in zip(found, gradients):
            if gradient is not None:
                size = gradient.to_dense().abs()
                found[name] = torch.maximum(found[name], size / size.max().clamp(min=1e-30))
    return found


@torch.no_grad()
def _read_when_moved(model: Recommender, query: Query, items: Tensor) -> dict[str, Tensor]:
    """0 or 1 for whole rows, for models whose `refresh` passes no gradient: each row is changed in turn, to see whether
    the differences change."""

    def differences() -> Tensor:
        model.refresh()
        return _differences(model, query, items)

    before, found = differences(), dict[str, Tensor]()
    for name, parameter in model.named_parameters():
        found[name] = torch.zeros_like(parameter)
        for row in range(len(parameter) if parameter.dim() else 0):
            kept = parameter[row].clone()
            parameter[row] += torch.rand_like(kept)
            found[name][row] = 0.0 if torch.equal(differences(), before) else 1.0
            parameter[row] = kept
    return found


def _differences(model: Recommender, query: Query, items: Tensor) -> Tensor:
    """Differences between the scores of neighboring items; an odd last item is paired with the first. Terms that all
    scores have in common cancel."""
    scores = model.score(query, torch.cat([items, items[: len(items) % 2]]))
    return scores[:, ::2] - scores[:, 1::2]


def pushed_by_training(subject: Subject, train: Graph, own: Mapping[str, Tensor]) -> set[str]:
    """The names of parameters whose entries in `own` get a gradient in training that is not only regularisation."""
    model = built(subject.name, train, subject.config, seed=0)
    last_phase = trainer_of(model, train, subject.epochs).last_phase
    trainer, pushed = trainer_of(model, train, last_phase), set[str]()
    names = {parameter: name for name, parameter in model.named_parameters()}

    def look(objective: Any) -> None:
        for parameter in objective.parameters:
            if names[parameter] in own and parameter.grad is not None:
                where = own[names[parameter]]
                gradient, value = parameter.grad.to_dense()[where], parameter.detach()[where]
                along = (gradient @ value / value.square().sum().clamp(min=1e-12)).clamp(min=0)
                if (gradient - along * value).norm() > REGULARISED * gradient.norm():
                    pushed.add(names[parameter])

    def spied(step: Callable[[], Any], objective: Any) -> Callable[[], None]:
        def look_and_step() -> None:
            look(objective)
            step()

        return look_and_step

    for optimizer, objective in zip(trainer.optimizers, trainer.objectives):
        optimizer.step = spied(optimizer.step, objective)  # type: ignore[method-assign]
    with one_thread():
        for _ in trainer.epochs():
            pass
    return pushed
