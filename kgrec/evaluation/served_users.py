"""How each user is served: by the model if it knows anything about the user, else by popularity."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgrec.evaluation.served_by import REASONS as REASONS  # other modules import it from here
from kgrec.evaluation.served_by import ServedBy as ServedBy
from kgrec.evaluation.trained_nodes import BY_BEHAVIOURS, BY_OTHER_EDGES, Trained, reads_all_edges
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.feature_columns import Column

if TYPE_CHECKING:
    from kgrec.evaluation.ranking import Scorer


class ServedUsers:
    """Decides how a model serves each user. trained: what training saw.

    A model that reads histories knows a user if it knows one of the past items. Any other model knows a user by the
    user's target edges in training, by the user's feature columns if it reads them, and by all other edges if it learns
    from all edges (`Recommender.reads_all_edges`). Users that the model does not know are served by popularity.
    """

    def __init__(self, scorer: Scorer, trained: Trained) -> None:
        self.scorer, self.model, self.trained = scorer, scorer.model, trained
        self.added: tuple[int, Tensor] | None = None  #: see `with_added`

    def with_added(self, first: int, served: Tensor) -> ServedUsers:
        """The same, which knows how users are served that the graph does not have. first: flat number of the first of
        them, past the graph's pad; served: CharTensor [n], a ServedBy for each."""
        _ = self.of_users, self.known_items  # made once, for all copies
        other = copy.copy(self)
        other.added = first, served
        return other

    def of(self, query: Query) -> Tensor:
        """A ServedBy for each query: CharTensor [B]."""
        pad = self.scorer.pad
        found, new = self.of_users[query.user.clamp(max=pad)], query.user == pad
        if self.model.reads_history and bool(new.any()):
            known = self.known_items[query.history].any(1)  # padding is not a known item
            found = torch.where(new & known, int(ServedBy.HISTORY), found)
            found = torch.where(new & (query.history == pad).all(1), int(ServedBy.POPULARITY), found).to(torch.int8)
        if self.added is not None:
            first, served = self.added
            place = query.user - first
            found = torch.where(place >= 0, served[place.clamp(min=0)], found)
        return found

    @cached_property
    def of_users(self) -> Tensor:
        """A ServedBy for each node: CharTensor [N + 1]. Only those of users count; the last is a new user's,
        UNTRAINED."""
        scorer, trained = self.scorer, self.trained
        there = scorer.had.csr.ptr.diff() > 0
        there = torch.cat([there, there.new_ones(1)])  # a new user has a history, but maybe of unknown items
        found = torch.where(there, int(ServedBy.UNTRAINED), int(ServedBy.POPULARITY)).to(torch.int8)
        by_edges = not self.model.reads_history and reads_all_edges(self.model)
        if by_edges:
            found[trained.reads == BY_OTHER_EDGES] = ServedBy.OTHER_EDGES
        found[self._has_profile(scorer.seen.target[0], alone=self.model.reads_history)] = ServedBy.PROFILE
        if self.model.reads_history:
            for graph, code in ((scorer.histories.graph, ServedBy.BEHAVIOURS), (scorer.seen, ServedBy.HISTORY)):
                found[graph.head[self.known_items[graph.tail]]] = code
        else:
            if by_edges:
                found[trained.reads == BY_BEHAVIOURS] = ServedBy.BEHAVIOURS
            found[trained.num_out > 0] = ServedBy.HISTORY
        return found

    @cached_property
    def known_items(self) -> Tensor:
        """The nodes that the model knows as past items: BoolTensor [N + 1]."""
        return (self.trained.reads > 0) | self._has_profile(self.scorer.seen.target[2])

    def _has_profile(self, node_type: str, *, alone: bool = False) -> Tensor:
        """The nodes of a type that have a feature that the model reads: BoolTensor [N + 1]. alone: count only embedding
        tables of this type. A table of all types gives a model that reads histories vectors of items, not of users."""
        graph: Graph = self.scorer.seen
        nodes, found = graph.range(node_type), torch.zeros(graph.pad + 1, dtype=torch.bool, device=self.scorer.device)
        for table in self.model.modules():
            if not isinstance(table, NodeEmbedding) or table.features is None:
                continue
            if alone and set(table.node_rows.counts) != {node_type}:
                continue
            for (of_type, _), column in zip(table.features.names, table.features.columns):
                if of_type == node_type and isinstance(column, Column):
                    found[nodes.start : nodes.stop] |= column.there[: len(nodes)]
        return found
