"""Repeats: held-out pairs of a user and an item where the user already had the item, and how they are treated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.graph.mapped_files import blocks

#: `miss`: repeats count and are missed, since items that a user has are not recommended. `skip`: they do not count, nor
#: do users who have no other pair. `recommend`: items that a user has are recommended too, so repeats can be hit
Repeats = Literal["miss", "skip", "recommend"]
REPEATS: tuple[Repeats, ...] = get_args(Repeats)
#: What is ranked: the catalog, published candidate lists as they are, or nothing (ratings or clicks are predicted)
Ranked = Literal["catalog", "lists", "nothing"]


@dataclass(frozen=True)
class RepeatCounts:
    """How many held-out pairs are repeats. Pairs are distinct: an item that is held out twice for a user counts
    once."""

    choice: Repeats  #: how repeats were treated
    held_out_pairs: int  #: number of held-out pairs, with repeats
    held_out_users: int  #: users who have a held-out pair
    pairs: int  #: number of repeats
    users: int  #: users who have a repeat
    users_without_others: int  #: users whose held-out pairs are all repeats
    ranked: Ranked  #: what was ranked

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
        """The highest hit rate that a ranking can reach: users whose held-out pairs are all repeats cannot be hit. None
        if repeats are not missed, or if no catalog was ranked."""
        if self.choice != "miss" or self.ranked != "catalog":
            return None
        return 1 - self.users_without_others / max(1, self.held_out_users)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, as in metrics.json."""
        highest = {} if self.highest_hit_rate is None else {"highest_hit_rate": self.highest_hit_rate}
        return {**asdict(self), "dropped_pairs": self.dropped_pairs, "dropped_users": self.dropped_users, **highest}


def check_repeats(choice: str) -> Repeats:
    """The choice, checked. Raises UnknownName for an unknown one."""
    for one in REPEATS:
        if choice == one:
            return one
    raise unknown_name("choice of repeats", choice, REPEATS)


def pairs_of(edges: Graph) -> Tensor:
    """One number for the pair of each edge: user * (N + 1) + item, with flat node numbers. LongTensor [E]."""
    return edges.head * (edges.pad + 1) + edges.tail


def repeated(known: Graph, held: Graph) -> tuple[Tensor, Tensor]:
    """The distinct held-out pairs as numbers of `pairs_of`, sorted, LongTensor [n], and which of them are repeats,
    BoolTensor [n]. known: the target edges that users already had; held: the held-out ones."""
    pair = torch.unique(pairs_of(held))
    if not len(pair):
        return pair, torch.zeros_like(pair, dtype=torch.bool)
    is_repeat = torch.zeros_like(pair, dtype=torch.bool)
    for rows in blocks(known.num_edges):
        head, tail = known.index.ends_of(rows)
        had = head * (known.pad + 1) + tail
        place = torch.searchsorted(pair, had).clamp_(max=len(pair) - 1)
        is_repeat[place[pair[place] == had]] = True
    return pair, is_repeat


def count_repeats(pair: Tensor, is_repeat: Tensor, num_nodes: int, choice: Repeats, ranked: Ranked) -> RepeatCounts:
    """The counts of what `repeated` found. num_nodes: number of nodes of the graph."""
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
    """The held-out edges without repeats. pair, is_repeat: from `repeated`. Raises KgrecError if no edge is left."""
    if not is_repeat.any():
        return held
    if is_repeat.all():
        raise KgrecError(
            f"all {len(pair):,} held-out {held.target[1]!r} pairs are repeats (the user already had the item), so "
            "nothing is left to measure if repeats are skipped; use repeats miss or recommend, or hold out other edges"
        )
    return held.where(~is_repeat[torch.searchsorted(pair, pairs_of(held))])
