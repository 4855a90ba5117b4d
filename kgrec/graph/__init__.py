"""The graph: every interaction and every fact is an edge of one heterogeneous graph."""

from typing import TYPE_CHECKING

from kgrec._late import late

if TYPE_CHECKING:
    from kgrec.graph.edge_index import CSR, EdgeIndex
    from kgrec.graph.graph import Graph
    from kgrec.graph.parts import NO_TIME, Candidates, GraphParts

__all__ = ["CSR", "NO_TIME", "Candidates", "EdgeIndex", "Graph", "GraphParts"]

__getattr__ = late(
    __name__,
    {
        "CSR": "edge_index",
        "EdgeIndex": "edge_index",
        "Graph": "graph",
        "NO_TIME": "parts",
        "Candidates": "parts",
        "GraphParts": "parts",
    },
)
