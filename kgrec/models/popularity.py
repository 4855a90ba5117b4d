"""Popularity: recommends the most popular items to everybody; the baseline of every experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from kgrec.graph import NO_TIME, Graph
from kgrec.graph.item_counts import item_counts
from kgrec.model import Query, Recommender, ScorerParts
from kgrec.nn.item_content import facts_of
from kgrec.nn.stored_indices import require_indices
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
    #: count only interactions of the last so many seconds before a list is wanted (with `--now edge`, or by the clock
    #: when serving; else before training ends), each of them; none: of all time
    window: PositiveInt | None = None

    @model_validator(mode="after")
    def _reads_facts(self) -> PopularityConfig:
        if self.relation is not None and self.of == "users":
            raise ValueError("relation names facts, but of=users counts users: set of=facts or of=attributes")
        if self.window is not None and self.of != "users":
            raise ValueError(f"window counts interactions, but of={self.of} counts facts: set of=users")
        return self


class Popularity(Recommender):
    """An item's score is the number of users who have it in the training data. It depends neither on the user nor on
    the history, so every user can be served.

    With `of: facts` it is the number of the item's facts, which says how well known it is. With `of: attributes` it is
    the mean over the item's facts (a relation and its other end) of the mean number of users of those items with users
    of which the fact holds too. Both are controls for cold items: a model that is not better learned nothing of who
    likes what.

    With `window` it is the number of interactions in the last seconds before `query.now`, a control for models that are
    told when a list is wanted. Interactions without a time do not count. The weights then hold when each was.
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
        if config.window is not None:
            self._keep_times(graph)

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

    def _keep_times(self, graph: Graph) -> None:
        """Keep when each interaction was, in order of time, and of which item."""
        known = graph.only(graph.target)
        time, order = known.time.sort(stable=True)
        timed = time != NO_TIME
        self.time: Tensor  #: LongTensor [E], of the interactions that have a time
        self.item: Tensor  #: IntTensor [E], from 0
        self.register_buffer("time", time[timed])
        self.register_buffer("item", (known.tail[order][timed] - self.first).int())
        require_indices(self, "item", len(self.count))

        def make_room(model: nn.Module, state: Mapping[str, Tensor], prefix: str, *others: Any) -> None:
            for name in ("time", "item"):  # a model that is built to load weights knows no interactions
                if prefix + name in state:
                    setattr(model, name, torch.empty_like(state[prefix + name], dtype=getattr(model, name).dtype))

        self.register_load_state_dict_pre_hook(make_room)

    @property
    def reads_now(self) -> bool:
        return self.config.window is not None

    def score(self, query: Query, items: Tensor) -> Tensor:
        if self.config.window is None:
            return self.count[items - self.first].expand(len(query), -1)
        return self.recent(query)[torch.arange(len(query), device=items.device).unsqueeze(1), items - self.first]

    def recent(self, query: Query) -> Tensor:
        """The number of interactions of each item in the window before each query, without those at `now` itself:
        FloatTensor [B, I]."""
        latest = self.time[-1:] + 1 if len(self.time) else self.time.new_zeros(1)
        end = latest.expand(len(query))
        if query.now is not None:
            end = torch.where(query.now == NO_TIME, end, query.now)
        bounds = torch.searchsorted(self.time, torch.stack([end - self.config.window, end]))
        counts = [torch.bincount(self.item[low:high], minlength=len(self.count)) for low, high in bounds.T.tolist()]
        return torch.stack(counts).to(self.count) if counts else self.count.new_empty(0, len(self.count))

    def linear_scorer(self) -> ScorerParts | None:
        return None if self.config.window is not None else ScorerParts("constant", {"score": self.count})
