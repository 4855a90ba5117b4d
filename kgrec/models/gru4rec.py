"""GRU4Rec: a recurrent network (GRU) that reads a user's history and predicts the next item."""

from __future__ import annotations

from typing import Annotated, Any

from kgrec.graph import Graph
from kgrec.nn import NextItem, NextItemConfig, RecurrentEncoder
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings


@settings
class GRU4RecConfig(NextItemConfig):
    """Settings of GRU4Rec."""

    #: number of recurrent layers on top of each other; more can express more, and cost time
    layers: Annotated[Depth, Between(1, 2)] = 1


class GRU4Rec(NextItem):
    """The vector of a history is the state of a GRU after its last step (Hidasi et al. 2016). The losses, the shared
    extra negatives and the logQ correction of Hidasi & Karatzoglou 2018 and of the authors' code are settings:
    `loss=bpr_max in_batch=true shared=true negatives=2048 alpha=.75`."""

    Config = GRU4RecConfig
    paper = "Hidasi et al. 2016, Session-based recommendations with recurrent neural networks, ICLR"

    def __init__(self, graph: Graph, config: GRU4RecConfig) -> None:
        super().__init__(graph, config)
        self.register_load_state_dict_pre_hook(_named_as_now)

    @classmethod
    def make_encoder(cls, config: GRU4RecConfig) -> RecurrentEncoder:
        return RecurrentEncoder(config.dim, config.layers, config.dropout)


def _named_as_now(model: GRU4Rec, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """Weights that were saved before the encoder was a module of its own have other names."""
    former = f"{prefix}gru."
    for name in [name for name in state if name.startswith(former)]:
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)
