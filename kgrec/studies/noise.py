"""Noise in the training edges of a graph: false, missing or swapped edges, or fake users. Test edges have none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import NO_TIME, Graph
from kgrec.splits.repeats import repeated, without_repeats
from kgrec.splits.split import TEST, TRAIN, VALID, Split, split, without_self_edges

NOISY = "noisy"  #: name of the split stored in a noisy graph
ROUND = 4096  #: minimum number of pairs drawn at once
RARE = 1e-9  #: weight of an item without users if items are drawn by popularity


@dataclass(frozen=True, eq=False)
class Clean:
    """A graph without noise and its split, from which `noisy` starts. Node numbers are local to their types."""

    graph: Graph  #: on the CPU: all target edges, and those other edges that do not give test edges away
    split: Split  #: the split of the original graph
    part: np.ndarray  #: int8 [target edges], 0 train, 1 valid, 2 test
    known: np.ndarray  #: int64, sorted: user * num_items + item for every pair of any behaviour, in any part
    spec: str  #: a SPEC that divides a noisy graph as `split.spec` divides the clean one

    @property
    def candidates(self) -> str:
        """The name of the candidate lists to rank at test; `all` if there are none."""
        return self.split.candidates_name or "all"

    @property
    def num_items(self) -> int:
        return len(self.graph.range(self.graph.target[2]))

    @property
    def num_users(self) -> int:
        return len(self.graph.range(self.graph.target[0]))

    @cached_property
    def edges(self) -> _Edges:
        """The target edges without noise."""
        target = self.graph.only(self.graph.target)
        user, item = target.edge_index.numpy()
        return _Edges(np.arange(target.num_edges), user, item, target.time.numpy(), self.part)

    def items(self, part: int) -> np.ndarray:
        """The items that a false edge of train or of valid may lead to: int64 [n]. If the split withholds items from
        train, false edges of valid lead only to items that are withheld from train."""
        node_type = self.graph.target[2]
        drawable = [known.drawable(node_type) for known in (self.split.train, self.split.train_valid)]
        trained, known = (nodes.cpu().numpy() - self.graph.range(node_type).start for nodes in drawable)
        return trained if part == TRAIN or len(trained) == len(known) else np.setdiff1d(known, trained)

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of train edges of each item: int64 [items]."""
        return np.bincount(self.edges.item[self.part == TRAIN], minlength=self.num_items)


@dataclass(frozen=True, eq=False)
class _Edges:
    """Target edges in file order. A false edge takes its weight and features from a clean edge."""

    row: np.ndarray  #: int64 [n], the edge itself, or for a false edge the clean edge that it takes its values from
    user: np.ndarray  #: int64 [n]
    item: np.ndarray  #: int64 [n]
    time: np.ndarray  #: int64 [n], unix seconds
    part: np.ndarray  #: int8 [n]

    def at(self, index: np.ndarray) -> _Edges:
        """The edges at these rows."""
        return _Edges(self.row[index], self.user[index], self.item[index], self.time[index], self.part[index])

    def then(self, *others: _Edges) -> _Edges:
        """These edges, followed by others."""
        names = ("row", "user", "item", "time", "part")
        return _Edges(*(np.concatenate([getattr(edges, name) for edges in (self, *others)]) for name in names))


def divide(
    graph: Graph,
    spec: str | None = None,
    candidates: str | None = None,
    repeats: str = "miss",
    exclude: Sequence[str] = (),
) -> Clean:
    """A graph and its split, ready for noise. spec, candidates, repeats, exclude: see `kgrec.split.split`. If repeats
    are skipped, the repeats of test are removed from the clean graph, so that models with noise are measured on the
    same pairs.

    Raises what `split` raises, and KgrecError if a noisy graph could not be divided in the same way: if other
    behaviours end at the first held-out edge, and end at another time for valid than for test.
    """
    graph = without_self_edges(graph.to("cpu"))
    given = split(graph, spec, candidates, repeats, exclude)
    numbered = replace(graph, weight=torch.arange(graph.num_edges))  # a split keeps weights but does not read them
    rows = split(numbered, given.spec, given.candidates_name or "all")
    number = graph.edge_types.index(graph.target)
    start, stop = graph.relation_ptr[number : number + 2]
    part = np.full(stop - start, TRAIN, dtype=np.int8)
    for held, code in ((rows.valid, VALID), (rows.test, TEST)):
        if held is not None:
            part[held.weight.numpy() - start] = code
    kept = torch.zeros(graph.num_edges, dtype=torch.bool)
    kept[start:stop] = True
    kept[rows.train_valid.weight] = True
    known, restated = _pairs(graph), _restated(given, graph, part)
    if given.repeats == "skip":
        test = without_repeats(rows.test, *repeated(rows.train_valid.only(graph.target), rows.test))
        kept[np.setdiff1d(rows.test.weight, test.weight)] = False
        rows, part = replace(rows, test=test), part[kept[start:stop].numpy()]
    clean, again = (
        Clean(replace(one.where(kept), candidates=graph.candidates), given, part, known, restated)
        for one in (graph, numbered)
    )
    _must_be_the_same(clean, numbered, rows, split(_graph_of(again, again.edges), again.spec, again.candidates))
    return clean


def _pairs(graph: Graph) -> np.ndarray:
    """Every pair of a user and an item that an edge joins, in either direction: int64, user * num_items + item. If
    users are items too, also every user with themselves."""
    source, _, target = graph.target
    num_items = len(graph.range(target))
    found = [np.arange(num_items) * (num_items + 1)] if graph.same_ends else []
    for edge, start, stop in zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:]):
        head, tail = graph.edge_index[:, start:stop].numpy()
        if (edge[0], edge[2]) == (source, target):
            found.append(head * num_items + tail)
        elif (edge[2], edge[0]) == (source, target):
            found.append(tail * num_items + head)
    return np.unique(np.concatenate(found))


def _restated(given: Split, graph: Graph, part: np.ndarray) -> str:
    """A SPEC that divides a noisy graph as the clean one. by_time and cold_items also work for false edges, since these
    are drawn with the times and items of their part; shares of edges are turned into times."""
    kind, _, rest = given.spec.partition(":")
    if kind.strip() == "cold_items":
        return given.spec
    if kind.strip() != "by_time":
        return NOISY
    time = graph.only(graph.target).time.numpy()
    firsts = (time[part != TRAIN].min(), time[part == TEST].min())
    words = [f"{first:05d}" if "%" in word else word for word, first in zip(rest.split(","), firsts)]
    return f"by_time:{','.join(words)}"  # five digits, since four would be read as a year


def _must_be_the_same(clean: Clean, numbered: Graph, rows: Split, again: Split) -> None:
    """Raise KgrecError if the restated SPEC does not divide the graph without noise as before. All graphs here have
    edge numbers in place of weights."""
    for name in ("train", "train_valid", "valid", "test"):
        wanted, found = getattr(rows, name), getattr(again, name)
        if wanted is None or found is None:
            assert wanted is found
        elif not torch.equal(wanted.weight, found.weight):
            differ = np.setxor1d(wanted.weight.numpy(), found.weight.numpy())
            relations = dict.fromkeys(numbered.edge_types[n][1] for n in numbered.relation[differ].tolist())
            raise KgrecError(
                f"split {clean.split.spec!r} cuts {some(relations)} at each user's first held-out edge, at another "
                "time for valid than for test, which is not possible for a graph with noise; use by_time:, ratio: or a "
                "stored split, or leave out valid="
            )


def noisy(clean: Clean, kind: str, rate: float, seed: int, targets: int = 5) -> Graph:
    """A new graph with noise in its train and valid target edges. Divide it by `clean.spec`. Test edges and all other
    relations are unchanged. rate: a share of the train edges, and of the valid edges, rounded to whole edges.

    - `add`: adds this share of false edges. The user is that of a random edge of the same part, so users are drawn in
      proportion to their edges there; the item is drawn uniformly. A false edge is never a pair of any behaviour in the
      graph, and no false edge is added twice. It takes time, weight and features from the random edge, and follows it
      in the file.
    - `drop`: removes this share of edges. Every user keeps one train edge, and valid keeps one edge.
    - `swap`: exchanges the times of this share of edges, in pairs of one user and one part, as far as users have two
      edges.
    - `shilling`: adds fake users after the real ones: rate times the number of users with a train edge. Each has a
      profile in train as long as that of a random real user. It has the `targets` items of `pushed_items` (even if that
      makes it longer) and filler items drawn uniformly (random attack; Mobasher et al. 2007). Edges to pushed items
      have the greatest weight in train; edges to fillers have time, weight and features of random train edges.
    - `bandwagon`: like `shilling`, but fillers are drawn in proportion to their train edges.

    Raises UnknownName for another kind. Raises KgrecError for a rate below 0, and for one that is not possible: to drop
    all edges, to swap more than all edges or edges without times, to add more pairs than are free, or to push more
    items than there are.
    """
    if kind not in KINDS:
        raise unknown_name("kind of noise", kind, KINDS)
    if not (math.isfinite(rate) and rate >= 0):
        raise KgrecError(f"{kind}: the rate is {rate:g}, but must be a number of at least 0")
    generator = np.random.default_rng([seed, 0])
    if kind in ATTACKS:
        pushed = pushed_items(clean, targets, seed)
        fakes, edges = _attacked(clean, rate, generator, pushed, by_popularity=kind == "bandwagon")
        return _graph_of(clean, edges, fakes)
    return _graph_of(clean, _IN_EDGES[kind](clean, rate, generator))


def _graph_of(clean: Clean, edges: _Edges, fakes: int = 0) -> Graph:
    """The graph with these target edges, and with `fakes` more users."""
    graph, target = clean.graph, clean.graph.target
    if fakes:
        graph, _ = graph.with_nodes({target[0]: pd.DataFrame({"id": _fake_ids(graph, fakes)})})
    number = graph.edge_types.index(target)
    start, stop = graph.relation_ptr[number : number + 2]
    row, shift = torch.from_numpy(edges.row), len(edges.row) - (stop - start)

    def around(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old[..., :start], new, old[..., stop:]], dim=-1)

    features = dict(graph.edge_features)
    if target in features:
        features[target] = {name: feature.take(row) for name, feature in features[target].items()}
    return replace(
        graph,
        edge_index=around(graph.edge_index, torch.from_numpy(np.stack([edges.user, edges.item]))),
        relation_ptr=tuple(at + shift * (n > number) for n, at in enumerate(graph.relation_ptr)),
        time=around(graph.time, torch.from_numpy(edges.time)),
        weight=around(graph.weight, graph.weight[start:stop][row]),
        edge_features=features,
        splits={NOISY: torch.from_numpy(edges.part)},
    )


def _fake_ids(graph: Graph, number: int) -> list[str]:
    """Ids `fake-1` and so on, without those that a real user has."""
    taken = set(graph.vocabulary[graph.target[0]].id_array.to_pylist())
    names = (f"fake-{n}" for n in range(1, number + len(taken) + 1))
    return [name for name in names if name not in taken][:number]


def _share(rate: float, number: int) -> int:
    """rate * number, rounded to a whole number (halves up)."""
    return int(rate * number + 0.5)


# ---------------------------------------------------------------------- edges


def _add(clean: Clean, rate: float, generator: np.random.Generator) -> _Edges:
    edges, known = clean.edges, clean.known
    for part in (TRAIN, VALID):
        rows = np.flatnonzero(clean.part == part)
        wanted = _share(rate, len(rows))
        items = clean.items(part)
        _must_be_free(clean, rows, wanted, items, known)
        row, pair = _free_pairs(clean, rows, wanted, items, known, generator)
        known = np.union1d(known, pair)
        false = replace(clean.edges.at(row), item=pair % clean.num_items)
        edges = edges.then(false)
    is_false = np.arange(len(edges.row)) >= len(clean.part)
    return edges.at(np.lexsort((is_false, edges.row)))


def _must_be_free(clean: Clean, rows: np.ndarray, wanted: int, items: np.ndarray, known: np.ndarray) -> None:
    users = np.unique(clean.edges.user[rows])
    taken = np.isin(known // clean.num_items, users) & np.isin(known % clean.num_items, items)
    free = len(users) * len(items) - int(taken.sum())
    if wanted > free:
        raise KgrecError(
            f"add: cannot add {wanted:,} false edges to {len(rows):,} edges, as only {free:,} pairs of {len(users):,} "
            f"users and {len(items):,} items are free; lower the rate"
        )


def _free_pairs(
    clean: Clean, rows: np.ndarray, wanted: int, items: np.ndarray, known: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random edges, and for each a pair of its user that is not known: int64 [wanted] twice. No pair is drawn twice."""
    row, pair = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    while len(pair) < wanted:
        drawn = generator.choice(rows, max(ROUND, 2 * (wanted - len(pair))))
        new = clean.edges.user[drawn] * clean.num_items + generator.choice(items, len(drawn))
        free = known[np.searchsorted(known, new).clip(max=len(known) - 1)] != new
        row, pair = np.concatenate([row, drawn[free]]), np.concatenate([pair, new[free]])
        first = np.sort(np.unique(pair, return_index=True)[1])[:wanted]
        row, pair = row[first], pair[first]
    return row, pair


def _drop(clean: Clean, rate: float, generator: np.random.Generator) -> _Edges:
    if rate >= 1:
        raise KgrecError(f"drop: a rate of {rate:g} leaves nothing to learn from; use a rate below 1")
    lost = np.zeros(len(clean.part), dtype=bool)
    train, valid = (generator.permutation(np.flatnonzero(clean.part == part)) for part in (TRAIN, VALID))
    kept = np.unique(clean.edges.user[train], return_index=True)[1]  # a random edge of each user
    free, wanted = np.delete(train, kept), _share(rate, len(train))
    if wanted > len(free):
        raise KgrecError(
            f"drop: cannot drop {wanted:,} of {len(train):,} train edges, only {len(free):,}, since each of "
            f"{len(kept):,} users keeps one; use a rate of at most {math.floor(100 * len(free) / len(train)) / 100:g}"
        )
    lost[free[:wanted]] = True
    lost[valid[: min(_share(rate, len(valid)), max(0, len(valid) - 1))]] = True
    return clean.edges.at(np.flatnonzero(~lost))


def _swap(clean: Clean, rate: float, generator: np.random.Generator) -> _Edges:
    edges = clean.edges
    if rate > 1:
        raise KgrecError(f"swap: the rate is {rate:g}, but must be a share of at most 1")
    if not (edges.time[clean.part == TRAIN] != NO_TIME).any():
        name = clean.graph.target[1]
        raise KgrecError(
            f"swap: the {name!r} edges have no times; name the column as `time:` below `interactions:`, or "
            "leave swap out"
        )
    time = edges.time.copy()
    for part in (TRAIN, VALID):
        rows = generator.permutation(np.flatnonzero((clean.part == part) & (edges.time != NO_TIME)))
        rows = rows[np.argsort(edges.user[rows], kind="stable")]  # by user, in random order
        user = edges.user[rows]
        place = np.arange(len(rows)) - np.searchsorted(user, user)  # of an edge among its user's edges
        first = np.flatnonzero((place[:-1] % 2 == 0) & (user[:-1] == user[1:]))
        first = generator.permutation(first)[: _share(rate / 2, int((clean.part == part).sum()))]
        one, other = rows[first], rows[first + 1]
        time[one], time[other] = edges.time[other], edges.time[one]
    return replace(edges, time=time)


# ---------------------------------------------------------------------- fake users


def pushed_items(clean: Clean, number: int, seed: int) -> np.ndarray:
    """The items that fake users push: int64 [number], local numbers, sorted. They are drawn among items with at least
    one train edge and no more train edges than the median item; if these are too few, also among items without any.

    Raises KgrecError if there are not enough such items.
    """
    if number < 1:
        raise KgrecError(f"the number of items to push is {number}, but must be 1 or more")
    items = clean.items(TRAIN)
    degree = clean.degree[items]
    low = degree <= np.median(degree[degree > 0])
    pool = items[low & (degree > 0)]
    if len(pool) < number:
        pool = items[low]
    if len(pool) < number:
        raise KgrecError(f"cannot push {number} items, as only {len(pool)} are unpopular enough; push fewer")
    return np.sort(np.random.default_rng([seed, 1]).choice(pool, number, replace=False))


def _attacked(
    clean: Clean, rate: float, generator: np.random.Generator, pushed: np.ndarray, *, by_popularity: bool
) -> tuple[int, _Edges]:
    """The number of fake users, and all edges, with those of the fake users at the end."""
    source, name, target = clean.graph.target
    if source == target:
        raise KgrecError(
            f"fake users would be items too, since {name!r} joins {source} nodes; use another kind of noise, such as "
            "add"
        )
    edges = clean.edges
    train = np.flatnonzero(clean.part == TRAIN)
    weight = clean.graph.only(clean.graph.target).weight.numpy()[train]
    heaviest = train[weight == weight.max()]
    lengths = np.unique(edges.user[train], return_counts=True)[1]
    fakes = _share(rate, len(lengths))
    others = np.setdiff1d(clean.items(TRAIN), pushed)
    chance = np.maximum(clean.degree[others], RARE) if by_popularity else np.ones(len(others))
    profiles = []
    for fake, length in enumerate(generator.choice(lengths, fakes), clean.num_users):
        size = min(max(0, length - len(pushed)), len(others))
        draw = generator.standard_exponential(len(others)) / chance  # the smallest are a draw without replacement
        filler = others[np.argpartition(draw, size - 1)[:size]]
        row = np.concatenate([generator.choice(heaviest, len(pushed)), generator.choice(train, size)])
        item = np.concatenate([pushed, filler])
        user = np.full(len(item), fake)
        profile = _Edges(row, user, item, edges.time[row], np.full(len(item), TRAIN, dtype=np.int8))
        profiles.append(profile.at(generator.permutation(len(item))))
    return fakes, edges.then(*profiles)


#: Kinds of noise that change edges
_IN_EDGES: Mapping[str, Callable[[Clean, float, np.random.Generator], _Edges]] = {
    "add": _add,
    "drop": _drop,
    "swap": _swap,
}
ATTACKS = ("shilling", "bandwagon")  #: kinds of noise that add fake users
KINDS = (*_IN_EDGES, *ATTACKS)
