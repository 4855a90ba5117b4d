"""Diagnostics that warn when a generator and its discriminator no longer learn from each other."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def entropy_share(weight: Tensor) -> float:
    """The entropy of the distribution of items in proportion to their weights [I], as a share of its maximum, log I.

    >>> entropy_share(torch.tensor([1.0, 1.0, 0.0, 0.0]))  # log 2 / log 4
    0.5
    """
    share = weight.double() / weight.double().sum().clamp(min=1e-12)
    return float(-torch.xlogy(share, share).sum()) / math.log(max(2, len(weight)))


def distinct_share(item: Tensor, num_items: int) -> float:
    """The share of the catalog that occurs in lists. item: LongTensor [n], the items of all lists.

    >>> distinct_share(torch.tensor([3, 3, 1]), 8)
    0.25
    """
    return len(item.unique()) / max(1, num_items)


class Watch:
    """Checks after each epoch whether a generator has collapsed, or whether its discriminator is too weak or too strong
    to teach it anything."""

    NARROW = 0.02  #: collapsed: lists hold less than this share of the catalog
    FAR = 0.25  #: ... and less than this factor of the data's share
    FLAT = 0.5  #: or: the entropy is below this factor of the data's
    BLIND, PERFECT = 0.01, 0.995  #: an accuracy this close to .5 is no better than chance; this or more is too high
    COLLAPSED_FOR, STUCK_FOR = 5, 10  #: epochs in a row that a problem must last before it is reported

    def __init__(self, entropy: float, distinct: float, hints: Mapping[str, str]) -> None:
        """entropy, distinct: `entropy_share` and `distinct_share` of the real rows. hints: what the user can do, by the
        problems `collapsed`, `blind` and `perfect`."""
        self.entropy, self.distinct, self.hints = entropy, distinct, hints
        self.epochs: dict[str, int] = {}  #: by problem, for how many epochs in a row it has been seen

    def warnings(self, entropy: float, distinct: float, accuracy: float | None) -> list[str]:
        """The problems that have now lasted long enough, with hints. Each is reported once, until it goes away.
        accuracy: the discriminator's; None for a critic, which has none."""
        narrow = distinct < self.NARROW and distinct < self.FAR * self.distinct
        collapsed = narrow or entropy < self.FLAT * self.entropy
        blind = accuracy is not None and abs(accuracy - 0.5) <= self.BLIND
        perfect = accuracy is not None and accuracy >= self.PERFECT
        found = []
        if self._lasts("collapsed", collapsed, self.COLLAPSED_FOR):
            found.append(
                f"the generator has collapsed to few items: its lists for all users hold {distinct:.1%} of the catalog "
                f"(the data: {self.distinct:.1%}), and their entropy is {entropy:.2f} of the maximum (the data: "
                f"{self.entropy:.2f}); {self.hints['collapsed']}"
            )
        if self._lasts("blind", blind, self.STUCK_FOR):
            found.append(
                f"the discriminator has been no better than chance for {self.STUCK_FOR} epochs; {self.hints['blind']}"
            )
        if self._lasts("perfect", perfect, self.STUCK_FOR):
            found.append(
                f"the discriminator has made almost no errors for {self.STUCK_FOR} epochs, so the generator learns "
                f"little from it; {self.hints['perfect']}"
            )
        return found

    def _lasts(self, what: str, holds: bool, epochs: int) -> bool:
        """Whether a problem has now lasted for exactly this many epochs in a row."""
        self.epochs[what] = self.epochs.get(what, 0) + 1 if holds else 0
        return self.epochs[what] == epochs
