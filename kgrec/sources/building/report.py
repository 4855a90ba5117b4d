"""What a build found, added and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kgrec.graph import Graph


@dataclass(frozen=True)
class LinkCoverage:
    """How far the nodes of one type are known to the knowledge graph."""

    nodes: int
    linked: int  #: nodes that have an entity (with a template: one that the facts name)
    with_facts: int  #: linked nodes with at least one fact
    shared_entities: int  #: entities that several of these nodes are
    sharing_nodes: int  #: nodes that share their entity


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
    unknown_predicates: list[str] = field(default_factory=list)  #: named by the recipe, in no fact
    problems: list[str] = field(default_factory=list)  #: bad rows that were left out, with `on_bad_rows: report`
    seconds: float = 0.0

    def drop(self, why: str, count: int) -> None:
        """Count what was left out; none is not mentioned."""
        if count:
            self.dropped[why] = self.dropped.get(why, 0) + int(count)

    def count(self, graph: Graph) -> None:
        """Take over what the graph holds."""
        self.nodes = {name: node.count for name, node in graph.schema.nodes.items()}
        sizes = zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:])
        self.edges = {"-".join(edge): stop - start for edge, start, stop in sizes}
        for name, part in graph.splits.items():
            train, valid, test = part.bincount(minlength=3).tolist()
            self.splits[name] = {"train": train, "valid": valid, "test": test}
        self.candidates = {name: len(lists.user) for name, lists in graph.candidates.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.name}: {_counts(self.nodes)}", *_edge_lines(self.edges)]
        lines += [f"split {name}: {_counts(parts)}" for name, parts in self.splits.items()]
        lines += [f"candidates {name}: {count:,} users" for name, count in self.candidates.items()]
        lines += [f"{count:,} {name} ids stand in no table; nodes were added" for name, count in self.added.items()]
        lines += [_link_line(name, link) for name, link in self.links.items()]
        lines += [f"left out: {count:,} {why}" for why, count in self.dropped.items()]
        if self.unknown_predicates:
            lines.append(f"the recipe names predicates that no fact has: {', '.join(self.unknown_predicates)}")
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
    shared = f"; {link.sharing_nodes} share {link.shared_entities} entities" if link.shared_entities else ""
    return f"{name}: {link.linked:,} of {link.nodes:,} linked, {link.with_facts:,} with at least one fact{shared}"
