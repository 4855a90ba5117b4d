"""Diagnostics that tell when a generator and its discriminator no longer learn from each other."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def entropy_share(weight: Tensor) -> float:
    """The entropy of items in proportion to their weights [I], a share of log I, the most there can be.

    >>> entropy_share(torch.tensor([1.0, 1.0, 0.0, 0.0]))  # log 2 / log 4
    0.5
    """
    share = weight.double() / weight.double().sum().clamp(min=1e-12)
    return float(-torch.xlogy(share, share).sum()) / math.log(max(2, len(weight)))


def distinct_share(item: Tensor, num_items: int) -> float:
    """How much of a catalog lists hold. item: LongTensor [n], all lists' items.

    >>> distinct_share(torch.tensor([3, 3, 1]), 8)
    0.25
    """
    return len(item.unique()) / max(1, num_items)


class Watch:
    """Finds, epoch by epoch, whether a generator has collapsed or its discriminator is of no use to it."""

    NARROW = 0.02  #: of the catalog in all lists
    FAR = 0.25  #: of what the data's own lists hold
    FLAT = 0.5  #: of the data's entropy
    BLIND, PERFECT = 0.01, 0.995  #: how near to .5 an accuracy is no use, and how high
    COLLAPSED_FOR, STUCK_FOR = 5, 10  #: epochs in a row

    def __init__(self, entropy: float, distinct: float, hints: Mapping[str, str]) -> None:
        """entropy, distinct: of the real rows, as `entropy_share` and `distinct_share` give them. hints: what to do
        about what is `collapsed`, `blind` or `perfect`."""
        self.entropy, self.distinct, self.hints = entropy, distinct, hints
        self.epochs: dict[str, int] = {}  #: for how many in a row each problem has been there

    def warnings(self, entropy: float, distinct: float, accuracy: float | None) -> list[str]:
        """Problems that have lasted long enough by this epoch, with hints; each once, until it goes away. accuracy: of
        the discriminator; None for a critic, which has none."""
        narrow = distinct < self.NARROW and distinct < self.FAR * self.distinct
        collapsed = narrow or entropy < self.FLAT * self.entropy
        blind = accuracy is not None and abs(accuracy - 0.5) <= self.BLIND
        perfect = accuracy is not None and accuracy >= self.PERFECT
        found = []
        if self._lasts("collapsed", collapsed, self.COLLAPSED_FOR):
            found.append(
                f"the generator has collapsed: lists for all users hold {distinct:.1%} of the catalog, where the "
                f"data's hold {self.distinct:.1%}, and what it makes has {entropy:.2f} of the most entropy, where the "
                f"data has {self.entropy:.2f}; {self.hints['collapsed']}"
            )
        if self._lasts("blind", blind, self.STUCK_FOR):
            found.append(
                f"the discriminator has been no better than chance for {self.STUCK_FOR} epochs; {self.hints['blind']}"
            )
        if self._lasts("perfect", perfect, self.STUCK_FOR):
            found.append(
                f"the discriminator has made next to no error for {self.STUCK_FOR} epochs, so the generator learns "
                f"little from it; {self.hints['perfect']}"
            )
        return found

    def _lasts(self, what: str, holds: bool, epochs: int) -> bool:
        """Whether this is the epoch by which a problem has lasted for so many in a row."""
        self.epochs[what] = self.epochs.get(what, 0) + 1 if holds else 0
        return self.epochs[what] == epochs
