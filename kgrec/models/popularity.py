"""Popularity: recommends the most popular items to everybody; the baseline of every experiment."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from kgrec.graph import Graph
from kgrec.graph.item_counts import item_counts
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.nn.item_content import facts_of
from kgrec.rows import NodeRows, declare_rows
from kgrec.settings import settings


@settings
class PopularityConfig:
    """Settings of Popularity."""

    #: count each user of an item once; false: count all interactions, of which a user may have several
    distinct: bool = True
    #: whose number counts: that of an item's users, of its facts, or of the users of items that share an attribute with
    #: it (a genre); the last two also rank items without users
    of: Literal["users", "facts", "attributes"] = "users"
    #: with `of: facts` or `attributes`, only facts of this relation, such as has_genre; None: all facts
    relation: str | None = None

    @model_validator(mode="after")
    def _reads_facts(self) -> PopularityConfig:
        if self.relation is not None and self.of == "users":
            raise ValueError("relation names facts, but of=users counts users: set of=facts or of=attributes")
        return self


class Popularity(Recommender):
    """An item's score is the number of users who have it in the training data. It depends neither on the user nor on
    the history, so every user can be served.

    With `of: facts` it is the number of the item's facts, which says how well known it is. With `of: attributes` it is
    the mean over the item's facts (a relation and its other end) of the mean number of users of those items with users
    of which the fact holds too. Both are controls for cold items: a model that is not better learned nothing of who
    likes what.
    """

    Config = PopularityConfig
    reads_history = True
    serves_everybody = True

    def __init__(self, graph: Graph, config: PopularityConfig) -> None:
        super().__init__(graph, config)
        self.first = graph.range(graph.target[2]).start
        self.count: Tensor  #: FloatTensor [I]
        self.register_buffer("count", self.counts(graph))
        declare_rows(self, count=NodeRows.of(graph, graph.target[2]))

    def counts(self, graph: Graph) -> Tensor:
        """What items are ranked by: FloatTensor [I]. Raises KgrecError where facts are asked for and there are none."""
        count, c = item_counts(graph, distinct=self.config.distinct), self.config
        if c.of == "users" or not graph.num_edges:
            return count
        facts = facts_of(graph, c.relation)
        if c.of == "facts":
            return torch.from_numpy(facts.sum(1)).to(count)
        users = count.cpu().numpy()
        holders = facts.T @ (users > 0).astype(np.float64)
        of_fact = (facts.T @ users.astype(np.float64)) / np.maximum(holders, 1)
        return torch.from_numpy((facts @ of_fact) / np.maximum(facts.sum(1), 1)).to(count)

    def score(self, query: Query, items: Tensor) -> Tensor:
        return self.count[items - self.first].expand(len(query), -1)

    def linear_scorer(self) -> ScorerParts:
        return ScorerParts("constant", {"score": self.count})
