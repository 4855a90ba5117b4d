"""What the networks of sequence models have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

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
