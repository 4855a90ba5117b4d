"""KGAT's vectors of items in a sequence model: what is known of an item says what comes after it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.model import Objective, Query
from kgrec.nn import (
    AttentiveGRU,
    KGEncoder,
    KGEncoderConfig,
    NextItem,
    NextItemConfig,
    Paths,
    SelfAttention,
    SelfAttentionConfig,
    Vectors,
)
from kgrec.rows import NodeRows, declare_rows
from kgrec.settings import settings


@settings
class KGATSeqConfig(KGEncoderConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of KGAT with sequences. `layer_dims` and what follows is of the graph's encoder; `blocks`, `heads` and
    so on of self-attention."""

    over: Literal["self-attention", "gru"] = "self-attention"  #: what reads the paths: SASRec's blocks, or a GRU with
    #: additive attention
    interactions: bool = False  #: whether the graph's encoder also sees who interacted with what


class KGATSeq(NextItem):
    """An item's vector is e0 + W [e1 || e2 || ...]: its own, and the outputs of KGEncoder's layers for it, projected by
    W, which is 0 at the start. A user's path of these is read by self-attention or a GRU with additive attention, and
    all is trained jointly: next items by the sequence loss, facts by TransR."""

    Config = KGATSeqConfig
    reads_all_edges = True

    def __init__(self, graph: Graph, config: KGATSeqConfig) -> None:
        items = EncodedItems(graph if config.interactions else graph.facts(), graph, config)
        super().__init__(graph, config, items)
        if config.over == "gru":
            self.encoder: nn.Module = AttentiveGRU(config.dim, 1, config.dropout)
        else:
            self.encoder = SelfAttention(config, config.dim, config.length, config.dropout, config.init_std)

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        found: Tensor = self.encoder(steps, paths)
        return found

    def objectives(self, graph: Graph) -> list[Objective]:
        known = graph if self.config.interactions else graph.facts()
        facts = self.item.encoder.objective(known)
        only_facts = {id(parameter) for parameter in self.item.encoder.transr.parameters()}
        next_item = super().objectives(graph)[0]
        next_item.parameters = [p for p in next_item.parameters if id(p) not in only_facts]
        return [next_item, facts]

    def begin(self, epoch: int) -> None:
        self.item.encoder.begin(epoch)

    def refresh(self) -> None:
        self.item.refresh()

    def attention(self, query: Query) -> Tensor | None:
        return self.spread(query, self.encoder.weights) if isinstance(self.encoder, AttentiveGRU) else None


class EncodedItems(nn.Module):
    """Items' vectors from the graph around them; what scoring reads is made once an epoch, as a buffer."""

    def __init__(self, graph: Graph, known: Graph, config: KGATSeqConfig) -> None:
        """graph: what is propagated over; known: all edges that training sees."""
        super().__init__()
        node_type = graph.target[2]
        self.encoder = KGEncoder(graph, config, (node_type,), known=known)
        self.start, self.dim = graph.range(node_type).start, config.dim
        self.project = nn.Linear(self.encoder.width - config.dim, config.dim, bias=False)
        nn.init.zeros_(self.project.weight)
        self.vector: Tensor  #: FloatTensor [I + 1, D], the last row zeros
        self.register_buffer("vector", torch.zeros(len(graph.range(node_type)) + 1, config.dim))
        declare_rows(self, vector=NodeRows.of(graph, node_type, computed=True))

    def vectors(self) -> Vectors:
        """What the vectors of a batch are read from."""
        return Vectors(self.start, self.encoded() if self.training else self.vector)

    def encoded(self) -> Tensor:
        """The vectors of all items and a row of zeros: [I + 1, D]."""
        own, of_layers = self.encoder().tensor_split([self.dim], dim=-1)
        return functional.pad(own + self.project(of_layers), (0, 0, 0, 1))

    def refresh(self) -> None:
        """Make the attention and the vectors that scoring reads."""
        self.encoder.attend()
        self.vector.copy_(self.encoded())
