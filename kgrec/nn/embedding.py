"""Vectors of nodes: the only place where a node number indexes a parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph


class NodeEmbedding(nn.Module):
    """A vector for every node of one type, looked up by flat numbers; any number past the type's last (`graph.pad`, a
    node added later) has the zero vector.

    >>> import pandas as pd
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): pd.DataFrame({"source": ["a"], "target": ["x"]})})
    >>> NodeEmbedding(graph, "film", dim=2)(torch.tensor([[1], [graph.pad]])).shape
    torch.Size([2, 1, 2])
    """

    def __init__(self, graph: Graph, node_type: str, dim: int, std: float = 0.1) -> None:
        super().__init__()
        self.start, self.count = graph.range(node_type).start, len(graph.range(node_type))
        self.weight = nn.Parameter(torch.empty(self.count + 1, dim))  #: [N of the type + 1, D], the last row is zero
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            self.weight[self.count].zero_()

    def forward(self, node: Tensor) -> Tensor:
        """node: LongTensor [*S], flat. Returns [*S, D]."""
        return functional.embedding((node - self.start).clamp(max=self.count), self.weight, padding_idx=self.count)
