"""Popularity: recommends the most popular items to everybody; the baseline of every experiment."""

from __future__ import annotations

from torch import Tensor

from kgrec.graph import Graph
from kgrec.graph.item_counts import item_counts
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.rows import NodeRows, declare_rows
from kgrec.settings import settings


@settings
class PopularityConfig:
    """Settings of Popularity."""

    #: count each user of an item once; false: count all interactions, of which a user may have several
    distinct: bool = True


class Popularity(Recommender):
    """An item's score is the number of users who have it in the training data. It depends neither on the user nor on
    the history, so every user can be served."""

    Config = PopularityConfig
    reads_history = True
    serves_everybody = True

    def __init__(self, graph: Graph, config: PopularityConfig) -> None:
        super().__init__(graph, config)
        self.first = graph.range(graph.target[2]).start
        self.count: Tensor  #: FloatTensor [I]
        self.register_buffer("count", item_counts(graph, distinct=config.distinct))
        declare_rows(self, count=NodeRows.of(graph, graph.target[2]))

    def score(self, query: Query, items: Tensor) -> Tensor:
        return self.count[items - self.first].expand(len(query), -1)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("constant", {"score": self.count})
