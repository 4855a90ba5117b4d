"""Adversarial perturbation: move node vectors so that the loss rises, for adversarial regularisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kgrec.rows import node_parameters


@contextmanager
def moved_vectors(model: nn.Module, parameters: Sequence[nn.Parameter], epsilon: float) -> Iterator[None]:
    """Inside this context, each node vector is moved by epsilon along its present gradient, where the loss rises most.
    Afterwards it has its former value to the last bit (adversarial personalized ranking, He et al. 2018, eq. 8).

    parameters: only vectors among these are moved; biases are not.
    """
    before: list[tuple[Tensor, Tensor | None, Tensor]] = []  #: weight, rows that move (None: all), their former values
    with torch.no_grad():
        for weight in vectors_among(model, parameters):
            gradient = weight.grad
            if gradient is None:
                continue
            rows = None
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                rows, gradient = gradient.indices()[0], gradient.values()
            step = epsilon * nn.functional.normalize(gradient, dim=-1)
            before.append((weight, rows, weight.clone() if rows is None else weight[rows]))
            weight.add_(step) if rows is None else weight.index_add_(0, rows, step)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, rows, values in before:
                weight.copy_(values) if rows is None else weight.index_copy_(0, rows, values)


def vectors_among(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The parameters that hold node vectors, each once; biases are not among them."""
    vectors = {id(parameter) for parameter in node_parameters(model).values()}
    return [parameter for parameter in parameters if id(parameter) in vectors]
