"""Item vectors that KGAT's encoder computes, for models that look up items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.cpu_products import Linear
from kgrec.nn.kg_encoder import KGEncoder
from kgrec.rows import NodeRows, declare_rows


class EncodedItems(nn.Module):
    """Item vectors from the graph around the items. Those that scoring reads are computed once an epoch and stored in a
    buffer."""

    def __init__(self, graph: Graph, known: Graph, config: Any) -> None:
        """graph: the edges that propagation uses; known: all edges that training sees."""
        super().__init__()
        node_type = graph.target[2]
        self.encoder = KGEncoder(graph, config, (node_type,), known=known)
        self.start, self.dim = graph.range(node_type).start, config.dim
        self.project = Linear(self.encoder.width - config.dim, config.dim, bias=False)
        nn.init.zeros_(self.project.weight)
        self.vector: Tensor  #: FloatTensor [I + 1, D], the last row zeros
        self.register_buffer("vector", torch.zeros(len(graph.range(node_type)) + 1, config.dim))
        declare_rows(self, vector=NodeRows.of(graph, node_type, computed=True))

    def vectors(self) -> Vectors:
        """The table that a batch reads its vectors from."""
        return Vectors(self.start, self.encoded() if self.training else self.vector)

    def encoded(self) -> Tensor:
        """The vectors of all items and a row of zeros: [I + 1, D]."""
        return functional.pad(self.projected(self.encoder()), (0, 0, 0, 1))

    def projected(self, vector: Tensor) -> Tensor:
        """Item vectors [n, D] from final vectors of the encoder, [n, width]."""
        own, of_layers = vector.tensor_split([self.dim], dim=-1)
        found: Tensor = own + self.project(of_layers)
        return found

    def refresh(self) -> None:
        """Recompute the attention and the vectors that scoring reads."""
        self.encoder.attend()
        self.vector.copy_(self.encoded())
