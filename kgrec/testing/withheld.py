"""Whether training reaches what a split withholds, found through the protocol alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.testing.subject import Subject, built, one_thread, query_of, trainer_of

REGULARISED = 1e-3  #: how far a gradient may point away from its parameter and still be one of regularisation


def read_by_withheld_alone(subject: Subject, train: Graph) -> dict[str, Tensor]:
    """Which numbers of each parameter the scores of withheld items read, and those of no other item: BoolTensors like
    the parameters, of those that have any. Found by gradients of differences between two items' scores."""
    assert train.withheld is not None
    model = built(subject.name, train, subject.config, seed=0).eval()
    model.load_state_dict(subject.model.state_dict())
    parameters, items = dict(model.named_parameters()), subject.items
    inspect.unwrap(type(model).refresh)(model)  # with gradients, so that they pass through what `score` reads
    withheld = torch.isin(items, train.withheld)

    def read(items: Tensor) -> list[Tensor]:
        found = [torch.zeros_like(parameter, dtype=torch.bool) for parameter in parameters.values()]
        for seed in range(2):  # a second order, as the first may cancel out by chance
            order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
            scores = model.score(query_of(train), items[order[: len(items) // 2 * 2]])
            if not scores.requires_grad:
                pytest.skip("no gradient reaches a parameter from a score; let `refresh` pass gradients on")
            difference = (scores[:, ::2] - scores[:, 1::2]).sum()
            gradients = torch.autograd.grad(
                difference, list(parameters.values()), allow_unused=True, retain_graph=True
            )  # kept, as `refresh` is the beginning of every score
            for there, gradient in zip(found, gradients):
                there |= False if gradient is None else gradient.to_dense() != 0
        return found

    own = {n: by & ~others for n, by, others in zip(parameters, read(items[withheld]), read(items[~withheld]))}
    return {name: numbers for name, numbers in own.items() if numbers.any()}


def pushed_by_training(subject: Subject, train: Graph, own: Mapping[str, Tensor]) -> set[str]:
    """Of these numbers of parameters, the names of those that training has a gradient for that is none of
    regularisation."""
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
