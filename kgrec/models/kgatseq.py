"""KGATSeq: a sequence model over item vectors that KGAT's encoder computes from the knowledge graph."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from pydantic import field_validator
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, some
from kgrec.graph import Graph
from kgrec.model import Objective, Query
from kgrec.nn import (
    AttentiveGRU,
    KGEncoderConfig,
    MaskingConfig,
    NextItem,
    NextItemConfig,
    SelfAttentionConfig,
    SequenceEncoder,
)
from kgrec.nn.encoded_items import EncodedItems
from kgrec.nn.masked_edges import EdgeMasking, attended
from kgrec.nn.masked_sequences import MaskedSequences
from kgrec.nn.row_shards import is_sharding, refused
from kgrec.settings import configure, settings

FORMER_ENCODERS = {"self-attention": "sasrec", "gru": "gruatt"}  #: former values of the setting `encoder`


@settings
class KGATSeqConfig(KGEncoderConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of KGAT with sequences. `layer_dims` to `facts_l2` are those of the graph encoder; `blocks` to
    `pre_norm` those of self-attention."""

    #: sequence model whose network reads the sequence: sasrec, esasrec, bert4rec, hstu, gru4rec, gruatt, or one of an
    #: installed package; it takes those of its settings that are also here from here
    encoder: str = "sasrec"
    #: further settings of that model, as a mapping
    encoder_config: dict[str, Any] = dataclasses.field(default_factory=dict)
    interactions: bool = False  #: let the graph encoder see the users' interactions as well as the facts

    FORMER: ClassVar = {"over": "encoder"}

    @field_validator("encoder", mode="before")
    @classmethod
    def _by_present_name(cls, name: Any) -> Any:
        return FORMER_ENCODERS.get(name, name) if isinstance(name, str) else name


class KGATSeq(NextItem):
    """An item's vector is e0 + W [e1 || e2 || ...]: its own vector, plus the outputs of KGEncoder's layers, projected
    by W, which is initially 0. The network of a sequence model (`encoder`) reads a user's sequence of these vectors.
    All parts are trained jointly: next items by the sequence loss, facts by TransR."""

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
        _, fields = _sequence_model(config)
        super().__init__(graph, config, items, masking=fields if isinstance(fields, MaskingConfig) else None)

    @classmethod
    def make_encoder(cls, config: KGATSeqConfig) -> SequenceEncoder:
        kind, fields = _sequence_model(config)
        return kind.make_encoder(fields)

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


def _sequence_model(config: KGATSeqConfig) -> tuple[type[NextItem], Any]:
    """The sequence model whose network is used, and its settings. Raises UnknownName for an unknown model or setting,
    KgrecError for a model without such a network."""
    kind, name = models.find(config.encoder), config.encoder
    if not issubclass(kind, NextItem) or issubclass(kind, KGATSeq):
        raise KgrecError(
            f"encoder {name!r} is no sequence model with a network of its own; use one such as sasrec, esasrec, "
            "bert4rec, gru4rec or gruatt"
        )
    own = {field.name for field in dataclasses.fields(kind.Config)}
    here = {field.name for part in (NextItemConfig, SelfAttentionConfig) for field in dataclasses.fields(part)}
    common = {name: getattr(config, name) for name in here & own}
    if both := sorted(common.keys() & config.encoder_config.keys()):
        raise KgrecError(f"encoder_config has {some(both)}, which kgatseq has itself; set it beside encoder_config")
    return kind, configure(kind.Config, common | config.encoder_config, what=f"encoder {name!r}")
