"""By what each user is served: by the model where it knows anything of them, else by popularity."""

from __future__ import annotations

from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgrec.evaluation.trained_nodes import BY_BEHAVIOURS, BY_OTHER_EDGES, Trained, reads_all_edges
from kgrec.graph import Graph
from kgrec.model import Query
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.feature_columns import Column

if TYPE_CHECKING:
    from kgrec.evaluation.ranking import Scorer


class ServedBy(IntEnum):
    """What a user's list is made of. From POPULARITY on the model knows nothing of the user."""

    HISTORY = 0  #: the model, and the user's target edges
    BEHAVIOURS = 1  #: the model, and what else the user did
    PROFILE = 2  #: the model, and the user's columns
    OTHER_EDGES = 3  #: the model, and facts about the user
    POPULARITY = 4  #: the user has no target edge at all
    UNTRAINED = 5  #: popularity too: there are target edges, but the model learned from none of them


#: What an answer says of users who are served otherwise than by their own history
REASONS = {
    ServedBy.BEHAVIOURS: "no history, by other behaviours",
    ServedBy.PROFILE: "no history, by profile",
    ServedBy.OTHER_EDGES: "no history, by other edges",
    ServedBy.POPULARITY: "no history, by popularity",
    ServedBy.UNTRAINED: "no history in training, by popularity",
}


class Service:
    """By what a model serves users, where `trained` is what training saw.

    One that reads histories knows a user by each past item that it knows; any other by the user's target edges in
    training, by the user's columns where it reads them as features, and by all other edges where it learns from all
    (`Recommender.reads_all_edges`). Who is known by nothing is served by popularity.
    """

    def __init__(self, scorer: Scorer, trained: Trained) -> None:
        self.scorer, self.model, self.trained = scorer, scorer.model, trained

    def of(self, query: Query) -> Tensor:
        """A ServedBy for each query: CharTensor [B]."""
        pad = self.scorer.pad
        found, new = self.of_users[query.user], query.user == pad
        if self.model.reads_history and query.history.shape[1] and bool(new.any()):
            known = self.known_items[query.history].any(1)  # of a pad nothing is known
            found = torch.where(new & known, int(ServedBy.HISTORY), found).to(torch.int8)
        return found

    @cached_property
    def of_users(self) -> Tensor:
        """A ServedBy for each node, of which those of users count; a new user's is UNTRAINED: CharTensor [N + 1]."""
        scorer, trained = self.scorer, self.trained
        there = scorer.had.csr.ptr.diff() > 0
        there = torch.cat([there, there.new_ones(1)])  # a new user has a history of items that nothing is known of
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
        """Of which nodes the model knows anything as past items: BoolTensor [N + 1]."""
        return (self.trained.reads > 0) | self._has_profile(self.scorer.seen.target[2])

    def _has_profile(self, node_type: str, *, alone: bool = False) -> Tensor:
        """Which nodes of a type have a column that the model reads: BoolTensor [N + 1]. alone: in tables of this type
        alone; one of all types makes vectors of items of it, by which a model that reads histories knows no user."""
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
