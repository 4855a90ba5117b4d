"""KGATSeq: a sequence model over item vectors that KGAT's encoder computes from the knowledge graph."""

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
from kgrec.nn.masked_edges import EdgeMasking, attended
from kgrec.nn.masked_sequences import MaskedSequences
from kgrec.nn.row_shards import is_sharding, refused
from kgrec.rows import NodeRows, declare_rows
from kgrec.settings import settings


@settings
class KGATSeqConfig(KGEncoderConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of KGAT with sequences. `layer_dims` to `facts_l2` are those of the graph encoder; `blocks` to
    `attention_dropout` those of self-attention."""

    #: network that reads the sequence: SASRec's self-attention, or a GRU with additive attention
    over: Literal["self-attention", "gru"] = "self-attention"
    interactions: bool = False  #: let the graph encoder see the users' interactions as well as the facts


class KGATSeq(NextItem):
    """An item's vector is e0 + W [e1 || e2 || ...]: its own vector, plus the outputs of KGEncoder's layers, projected
    by W, which is initially 0. Self-attention, or a GRU with additive attention, reads a user's sequence of these
    vectors. All parts are trained jointly: next items by the sequence loss, facts by TransR."""

    Config = KGATSeqConfig
    reads_all_edges = True
    reads_facts = True

    def __init__(self, graph: Graph, config: KGATSeqConfig) -> None:
        if is_sharding():
            raise refused(
                "the vectors of all nodes at every step, for propagation over the whole graph",
                "use kgat with sampled neighborhoods (fanouts), or sasrec with loss=sampled_softmax",
            )
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
        if not known.num_edges:  # relations without edges: there is nothing to learn about them
            return super().objectives(graph)
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

    def edge_masking(self, graph: Graph) -> EdgeMasking:
        """What masks edges of the graph: see `kgrec.nn.masked_edges`."""
        edges = graph if self.config.interactions else graph.facts()
        layers = attended(self.item.encoder, edges, self.item.projected)
        return MaskedSequences(self, graph, edges, *layers, by="attention")


class EncodedItems(nn.Module):
    """Item vectors from the graph around the items. Those that scoring reads are computed once an epoch and stored in a
    buffer."""

    def __init__(self, graph: Graph, known: Graph, config: KGATSeqConfig) -> None:
        """graph: the edges that propagation uses; known: all edges that training sees."""
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
