"""What a build found, added and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from kgrec.graph import Graph
from kgrec.large_arrays import counts
from kgrec.sources.rdf.facts import FactOptions
from kgrec.sources.rdf.left_out import LeftOut, left_out

MOST_LINES = 6  #: lines for one reason, each for a predicate or class
MOST_DETAILS = 1_000  #: entries for one reason, in JSON


class _Detail(NamedTuple):
    """How many triples of a predicate or class (an IRI) were left out."""

    iri: str
    total: int
    options: FactOptions


@dataclass(frozen=True)
class LinkCoverage:
    """How many nodes of one type are linked to the knowledge graph."""

    nodes: int
    linked: int  #: nodes that have an entity (with a template: one that is in the facts)
    with_facts: int  #: linked nodes with at least one fact
    shared_entities: int  #: entities that are linked to several of these nodes
    sharing_nodes: int  #: nodes whose entity is linked to other nodes too


@dataclass(frozen=True)
class GraphOnly:
    """Nodes of one type that are only in the knowledge graph."""

    nodes: int = 0
    by_iri: int = 0  #: how many of them have their IRI as id, because no other id is known
    iris: list[str] = field(default_factory=list)  #: some of those
    ids: list[str] = field(default_factory=list)  #: some of the others: `id (IRI)`


@dataclass
class BuildReport:
    """Counts of a build: what the graph holds, what was added, and what was left out and why."""

    name: str
    nodes: dict[str, int] = field(default_factory=dict)
    edges: dict[str, int] = field(default_factory=dict)  #: by `source-relation-target`
    splits: dict[str, dict[str, int]] = field(default_factory=dict)  #: by name, edges of train, valid, test
    candidates: dict[str, int] = field(default_factory=dict)  #: by name, users with a list
    added: dict[str, int] = field(default_factory=dict)  #: node types -> ids that the type's tables do not list
    dropped: dict[str, int] = field(default_factory=dict)  #: why -> how many rows, triples or values were left out
    num_triples: int = 0  #: read
    links: dict[str, LinkCoverage] = field(default_factory=dict)  #: by node type
    graph_only: dict[str, GraphOnly] = field(default_factory=dict)  #: by node type, for the types in the recipe
    notes: list[str] = field(default_factory=list)  #: what else a reader should know
    unknown_predicates: list[str] = field(default_factory=list)  #: in the recipe, but in no fact
    problems: list[str] = field(default_factory=list)  #: bad rows that were left out, with `on_bad_rows: report`
    seconds: float = 0.0
    _details: dict[tuple[str, str], _Detail] = field(default_factory=dict, repr=False)  # (why, predicate or class)

    def drop(self, why: str, count: int) -> None:
        """Count what was left out. A count of 0 is ignored."""
        if count:
            self.dropped[why] = self.dropped.get(why, 0) + int(count)

    def leave_out(self, why: str, name: str, count: int, options: FactOptions) -> None:
        """Count what was left out of one predicate or class (an IRI). Counts of several sources are added up."""
        if not count:
            return
        self.drop(why.format(name), count)
        self.detail(why, name, count, options)

    def detail(self, why: str, name: str, count: int, options: FactOptions) -> None:
        """Record the predicate or class of what was left out, where `drop` is called elsewhere."""
        shown = options.shown(name)
        before = self._details.get((why, shown))
        total = count + (0 if before is None else before.total)
        self._details[why, shown] = _Detail(name, total, options)

    @property
    def left_out(self) -> dict[str, list[LeftOut]]:
        """The facts and values that were left out: why -> the most frequent predicates and classes, no more
        than MOST_DETAILS."""
        of_reason: dict[str, list[tuple[str, _Detail]]] = {}
        for (why, _), detail in self._details.items():
            of_reason.setdefault(why.format(detail.iri), []).append((why, detail))
        return {
            reason: [left_out(why, *one) for why, one in sorted(found, key=lambda pair: -pair[1].total)[:MOST_DETAILS]]
            for reason, found in of_reason.items()
        }

    def lines_of_left_out(self) -> list[str]:
        """What was left out, a line for each reason and predicate or class: for each reason the most frequent, then
        the rest."""
        lines, details = [], self.left_out
        for why, count in self.dropped.items():
            found = details.get(why, [])
            lines += [f"left out: {one}" for one in found[:MOST_LINES]]
            rest = count - sum(one.count for one in found[:MOST_LINES])
            more = f"more {why} (--json lists them)" if len(found) > MOST_LINES else why
            lines += [f"left out: {rest:,} {more}"] if rest else []
        return lines

    def count(self, graph: Graph) -> None:
        """Count what is in the graph."""
        self.nodes = {name: node.count for name, node in graph.schema.nodes.items()}
        sizes = zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:])
        self.edges = {"-".join(edge): stop - start for edge, start, stop in sizes}
        for name, part in graph.splits.items():
            train, valid, test = counts(part.numpy(), 3).tolist()
            self.splits[name] = {"train": train, "valid": valid, "test": test}
        self.candidates = {name: len(lists.user) for name, lists in graph.candidates.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        data = asdict(replace(self, _details={}))
        del data["_details"]
        return data | {"left_out": [asdict(one) for found in self.left_out.values() for one in found]}

    def __str__(self) -> str:
        lines = [f"{self.name}: {_counts(self.nodes)}", *_edge_lines(self.edges)]
        lines += [f"split {name}: {_counts(parts)}" for name, parts in self.splits.items()]
        lines += [f"candidates {name}: {count:,} users" for name, count in self.candidates.items()]
        lines += [
            f"{count:,} {name} {'id is' if count == 1 else 'ids are'} in no {name} table; nodes were added for them"
            for name, count in self.added.items()
        ]
        lines += [_link_line(name, link) for name, link in self.links.items()]
        lines += [graph_only_line(name, found) for name, found in self.graph_only.items()]
        lines += self.lines_of_left_out()
        lines += self.notes
        if self.unknown_predicates:
            lines.append(f"predicates in the recipe that no fact has: {', '.join(self.unknown_predicates)}")
        lines += self.problems
        lines.append(f"built in {self.seconds:.1f} s")
        return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _edge_lines(edges: Mapping[str, int], most: int = 12) -> list[str]:
    lines = [f"  {name}: {count:,}" for name, count in list(edges.items())[:most]]
    if len(edges) > most:
        lines.append(f"  and {len(edges) - most} more edge types with {sum(list(edges.values())[most:]):,} edges")
    return lines


def _link_line(name: str, link: LinkCoverage) -> str:
    shared = f"; {link.sharing_nodes} nodes share {link.shared_entities} entities" if link.shared_entities else ""
    why = "; kgrec check says why" if link.nodes and not link.linked else ""
    return f"{name}: {link.linked:,} of {link.nodes:,} linked, {link.with_facts:,} with at least one fact{shared}{why}"


def graph_only_line(name: str, found: GraphOnly) -> str:
    """Which nodes of a type are only in the knowledge graph, and their ids."""
    said = f"{name} nodes that are only in the knowledge graph: {found.nodes:,}"
    if not found.by_iri:
        return f"{said}, such as {', '.join(found.ids)}"
    which = f"{found.by_iri:,} have an IRI as id, such as {', '.join(found.iris)}"
    advice = f"if a predicate has your own ids, name it in `links: {{{name}: {{predicate: ...}}}}`"
    return f"{said}; {which}; {advice}"
