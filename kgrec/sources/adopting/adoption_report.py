"""What an adoption found and changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import Schema

MOST = 30  #: node types or relations that are listed


@dataclass
class AdoptionReport:
    """Counts before and after, and notes on what was assumed, changed or dropped."""

    folder: str  #: the graph folder
    nodes: dict[str, int] = field(default_factory=dict)  #: by node type
    edges: dict[str, int] = field(default_factory=dict)  #: by `source-relation-target`
    target: str | None = None  #: the relation to recommend, as `source-relation-target`
    former_nodes: dict[str, int] = field(default_factory=dict)  #: the counts in the former graph.json, if there was one
    #: the relations in the former graph.json, which has no counts of edges
    former_edges: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  #: what was assumed, changed or dropped

    def count(self, graph: GraphParts, former: Schema | None) -> None:
        """Count what is in the graph, and copy the counts of the former graph.json."""
        self.nodes = {name: node.count for name, node in graph.schema.nodes.items()}
        sizes = zip(graph.edge_types, graph.relation_ptr, graph.relation_ptr[1:])
        self.edges = {"-".join(edge): stop - start for edge, start, stop in sizes}
        self.target = "-".join(graph.schema.target) if graph.schema.target else None
        if former is not None:
            self.former_nodes = {name: node.count for name, node in former.nodes.items()}
            self.former_edges = ["-".join(edge) for edge in former.edges]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        counts = (f"{count:,} {name}{self._was(name, count)}" for name, count in self.nodes.items())
        lines = [f"{self.folder}: {', '.join(counts)}", *_edge_lines(self.edges)]
        lines.append(f"target: {self.target or 'none'}")
        return "\n".join([*lines, *self.notes])

    def _was(self, name: str, count: int) -> str:
        if not self.former_nodes or self.former_nodes.get(name) == count:
            return ""
        return f" (were {self.former_nodes[name]:,})" if name in self.former_nodes else " (new)"


def _edge_lines(edges: Mapping[str, int]) -> list[str]:
    lines = [f"  {name}: {count:,}" for name, count in list(edges.items())[:MOST]]
    return [*lines, f"  and {len(edges) - MOST} more"] if len(edges) > MOST else lines
