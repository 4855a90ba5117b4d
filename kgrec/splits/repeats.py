"""Repeats: held-out pairs of a user and an item that the user had already, and what becomes of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph

#: What becomes of repeats: they count and are missed, since what a user has is not recommended; they do not count, nor
#: does a user without other pairs; or what a user has is recommended too, so that they can be hit
Repeats = Literal["miss", "skip", "recommend"]
REPEATS: tuple[Repeats, ...] = get_args(Repeats)
#: What is ranked: the catalog, published lists as they are, or nothing, where ratings or clicks are predicted
Ranked = Literal["catalog", "lists", "nothing"]


@dataclass(frozen=True)
class RepeatCounts:
    """How many held-out pairs are repeats. Pairs are distinct: an item held out twice of one user is one."""

    choice: Repeats  #: what became of them
    held_out_pairs: int  #: all, repeats among them
    held_out_users: int  #: who have a held-out pair
    pairs: int  #: repeats
    users: int  #: who have a repeat
    users_without_others: int  #: of these, those who have nothing else held out
    ranked: Ranked

    @property
    def dropped_pairs(self) -> int:
        """Pairs that do not count."""
        return self.pairs if self.choice == "skip" else 0

    @property
    def dropped_users(self) -> int:
        """Users who do not count."""
        return self.users_without_others if self.choice == "skip" else 0

    @property
    def highest_hit_rate(self) -> float | None:
        """The hit rate that a ranking can reach, since users of whom all is a repeat cannot be hit; None where repeats
        are not missed, and where no catalog was ranked."""
        if self.choice != "miss" or self.ranked != "catalog":
            return None
        return 1 - self.users_without_others / max(1, self.held_out_users)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as metrics.json has it."""
        highest = {} if self.highest_hit_rate is None else {"highest_hit_rate": self.highest_hit_rate}
        return {**asdict(self), "dropped_pairs": self.dropped_pairs, "dropped_users": self.dropped_users, **highest}


def check_repeats(choice: str) -> Repeats:
    """The choice. Raises UnknownName for one that is not there."""
    for one in REPEATS:
        if choice == one:
            return one
    raise unknown_name("choice of repeats", choice, REPEATS)


def pairs_of(edges: Graph) -> Tensor:
    """A number for the pair of each edge, user * (N + 1) + item with flat numbers: LongTensor [E]."""
    return edges.head * (edges.pad + 1) + edges.tail


def repeated(known: Graph, held: Graph) -> tuple[Tensor, Tensor]:
    """The distinct held-out pairs, as `pairs_of` has them, rising, LongTensor [n], and which of them are repeats,
    BoolTensor [n]. known, held: the target edges that users had, and those held out."""
    pair = torch.unique(pairs_of(held))
    if not len(pair):
        return pair, torch.zeros_like(pair, dtype=torch.bool)
    had = pairs_of(known)
    place = torch.searchsorted(pair, had).clamp_(max=len(pair) - 1)
    is_repeat = torch.zeros_like(pair, dtype=torch.bool)
    is_repeat[place[pair[place] == had]] = True
    return pair, is_repeat


def count_repeats(pair: Tensor, is_repeat: Tensor, num_nodes: int, choice: Repeats, ranked: Ranked) -> RepeatCounts:
    """The counts of what `repeated` found in a graph of so many nodes."""
    user, row = torch.unique_consecutive(pair // (num_nodes + 1), return_inverse=True)
    repeats, others = (torch.bincount(row[which], minlength=len(user)) for which in (is_repeat, ~is_repeat))
    return RepeatCounts(
        choice,
        held_out_pairs=len(pair),
        held_out_users=len(user),
        pairs=int(is_repeat.sum()),
        users=int((repeats > 0).sum()),
        users_without_others=int((others == 0).sum()),
        ranked=ranked,
    )


def without_repeats(held: Graph, pair: Tensor, is_repeat: Tensor) -> Graph:
    """The held-out edges without those of repeats. pair, is_repeat: as `repeated` gives them. Raises KgrecError where
    none is left."""
    if not is_repeat.any():
        return held
    if is_repeat.all():
        raise KgrecError(
            f"all {len(pair):,} held-out {held.target[1]!r} pairs are repeats, which users had before, so none is left "
            "where repeats are skipped; take repeats miss or recommend, or hold out other edges"
        )
    return held.where(~is_repeat[torch.searchsorted(pair, pairs_of(held))])
