"""The graph: every interaction and every fact is an edge of one heterogeneous graph."""

from kgrec.graph.edge_index import CSR, EdgeIndex
from kgrec.graph.graph import Graph
from kgrec.graph.parts import NO_TIME, Candidates, GraphParts

__all__ = ["CSR", "NO_TIME", "Candidates", "EdgeIndex", "Graph", "GraphParts"]
