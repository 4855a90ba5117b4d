"""What the networks of sequence models have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.nn.packed_paths import Paths
from kgrec.nn.step_times import Times


class SequenceEncoder(nn.Module, ABC):
    """What reads a path: the network of a sequence model. It does not know where the vectors of the steps come from."""

    times: Times = "none"  #: what it reads of `paths.time` and `paths.now`

    @abstractmethod
    def forward(self, steps: Tensor, paths: Paths) -> Tensor:
        """The encoding of each step, [n, D], from the steps [n, D], packed (see Paths). It predicts the next step and
        may depend on this step and those before it in its path. In a model with `masking` it predicts the step itself,
        from the whole path."""


def must_divide(dim: int, heads: int) -> None:
    """Raise KgrecError if dim is not a multiple of heads."""
    if dim % heads:
        raise KgrecError(f"dim is {dim} and heads is {heads}, but dim must be a multiple of heads; change one of them")


def with_positions(steps: Tensor, paths: Paths, position: Tensor) -> Tensor:
    """Packed steps [n, D], times the root of D, plus a vector for where each is in its path: [n, D]. position: [L, D],
    the last row for a path's last step; steps before the L last ones have the first."""
    from_end = (paths.length[paths.row] - paths.step).clamp(1, len(position))
    return steps * steps.shape[-1] ** 0.5 + functional.embedding(len(position) - from_end, position)
