"""Shuffle facts: within each relation, every fact gets the tail of another fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType, Schema

MOST_DRAWS = 50  #: permutations that are drawn for one relation until one of them changes a fact


@dataclass(frozen=True)
class Stated:
    """Edge types that state the same facts: a relation between two node types, and its inverses."""

    #: by edge type, whether its edges lead from the facts' tails to their heads
    turned: Mapping[EdgeType, bool]
    #: whether a fact also holds backwards, as for a relation that is its own inverse
    both_ways: bool = False


def stated_together(schema: Schema, edge_types: list[EdgeType]) -> list[Stated]:
    """The edge types in groups that state the same facts, as `inverse_of` in the schema says.

    >>> from kgrec.graph.schema import EdgeSchema, NodeSchema
    >>> made, makes = ("film", "made_by", "studio"), ("studio", "makes", "film")
    >>> edges = {made: EdgeSchema(), makes: EdgeSchema(inverse_of="made_by")}
    >>> schema = Schema({"film": NodeSchema(2), "studio": NodeSchema(1)}, edges)
    >>> stated_together(schema, [made, makes])[0].turned
    {('film', 'made_by', 'studio'): False, ('studio', 'makes', 'film'): True}
    """
    known, neighbors = set(edge_types), {edge: list[EdgeType]() for edge in edge_types}
    for source, relation, target in edge_types:
        inverse = schema.edges[source, relation, target].inverse_of
        other = (target, inverse, source) if inverse is not None else None
        if other in known and other is not None:
            neighbors[source, relation, target].append(other)
            neighbors[other].append((source, relation, target))
    found, placed = list[Stated](), set[EdgeType]()
    for first in edge_types:
        if first in placed:
            continue
        turned, both_ways, left = {first: False}, False, [first]
        while left:
            edge = left.pop()
            for other in neighbors[edge]:
                if other not in turned:
                    turned[other] = not turned[edge]
                    left.append(other)
                both_ways |= turned[other] == turned[edge]
        placed |= set(turned)
        found.append(Stated(turned, both_ways))
    return found


@dataclass(frozen=True, eq=False)
class Shuffled:
    """A graph with shuffled facts."""

    graph: Graph
    #: by edge type, the share of its facts that are in the shuffled graph too, by chance; 1 if it cannot be shuffled
    kept: Mapping[EdgeType, float]


def shuffled(graph: Graph, edge_types: list[EdgeType], seed: int) -> Shuffled:
    """The graph in which the facts of these edge types are shuffled: within each edge type the tails are permuted at
    random. So every head has as many facts of each relation as before, and every tail is stated as often.

    Facts that inverses state as well are moved together, so that inverses stay inverses. A fact that is stated several
    times is moved as one. Times, weights and features stay with the head. seed: seed of the permutations.
    """
    ends, kept = graph.edge_index.clone(), dict[EdgeType, float]()
    for number, group in enumerate(stated_together(graph.schema, edge_types)):
        generator = np.random.default_rng([seed, number])
        parts = {edge: _rows(graph, edge) for edge in group.turned}
        if not any(part.stop > part.start for part in parts.values()):
            kept |= dict.fromkeys(parts, 1.0)
            continue
        pairs = _pairs(graph, group, parts)
        facts, fact_of = np.unique(np.concatenate(list(pairs.values()), axis=1), axis=1, return_inverse=True)
        moved = np.stack([facts[0], _permuted(facts, generator)])
        again, start = moved[:, fact_of.reshape(-1)], 0
        for edge, part in parts.items():
            stop = start + part.stop - part.start
            new = again[:, start:stop]
            kept[edge] = _share_kept(pairs[edge], np.sort(new, axis=0) if group.both_ways else new)
            turn = group.turned[edge] ^ _is_backwards(graph, group, edge, part)
            ends[:, part] = torch.from_numpy(np.where(turn, new[::-1], new))
            start = stop
    return Shuffled(replace(graph, edge_index=ends), kept)


def can_be_shuffled(graph: Graph, edge_types: list[EdgeType]) -> bool:
    """Whether a permutation of tails can change any fact of these edge types: there are two facts with different heads
    and different tails."""
    for group in stated_together(graph.schema, edge_types):
        pairs = _pairs(graph, group, {edge: _rows(graph, edge) for edge in group.turned})
        head, tail = np.unique(np.concatenate(list(pairs.values()), axis=1), axis=1)
        if len(head) and (head != head[0]).any() and (tail != tail[0]).any():
            return True
    return False


def _rows(graph: Graph, edge: EdgeType) -> slice:
    number = graph.edge_types.index(edge)
    return slice(graph.relation_ptr[number], graph.relation_ptr[number + 1])


def _is_backwards(graph: Graph, group: Stated, edge: EdgeType, part: slice) -> np.ndarray:
    """Which edges of an edge type state a fact backwards, because it holds both ways and is kept from the lower number
    to the higher: bool [edges]."""
    head, tail = graph.edge_index[:, part].numpy()[:: -1 if group.turned[edge] else 1]
    return (head > tail) if group.both_ways else np.zeros(len(head), dtype=bool)


def _pairs(graph: Graph, group: Stated, parts: Mapping[EdgeType, slice]) -> dict[EdgeType, np.ndarray]:
    """The facts that the edges of each edge type state: int64 [2, edges], head and tail."""
    found = {}
    for edge, part in parts.items():
        pair = graph.edge_index[:, part].cpu().numpy()
        pair = pair[::-1] if group.turned[edge] else pair
        found[edge] = np.sort(pair, axis=0) if group.both_ways else pair
    return found


def _permuted(facts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The tails of facts [2, n] in a random order that changes some fact, if one is found: int64 [n]."""
    tail = facts[1]
    for _ in range(MOST_DRAWS):
        drawn: np.ndarray = generator.permutation(tail)
        if _share_kept(facts, np.stack([facts[0], drawn])) < 1:
            return drawn
    return tail


def _share_kept(before: np.ndarray, after: np.ndarray) -> float:
    """The share of the facts [2, n] that are among the others [2, n]; 1 if there are none."""
    if not before.shape[1]:
        return 1.0
    size = int(max(before.max(), after.max())) + 1
    return float(np.isin(before[0] * size + before[1], after[0] * size + after[1]).mean())
