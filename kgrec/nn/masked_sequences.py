"""What a model of sequences over propagated item vectors scores where facts, or steps of a history, are masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.graph import NO_TIME, Graph
from kgrec.model import Query
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.masked_edges import EdgeMasking, GraphEntries, Masks
from kgrec.nn.masked_propagation import Changed, MaskedPropagation
from kgrec.nn.ranking_loss import product

AT_ONCE = 32  #: masks whose sequences are read at once


class MaskedSequences(EdgeMasking):
    """Scores of a NextItem whose item vectors come along the edges of a graph. A masked edge from the user to an item
    is a step that the history lacks; a masked fact changes the vectors of items."""

    def __init__(
        self,
        model: Any,
        graph: Graph,
        edges: Graph,
        propagation: MaskedPropagation,
        along: GraphEntries,
        *,
        by: str,
    ) -> None:
        """edges: the relations of `graph` that are propagated along, of which `along` speaks."""
        self.model, self.graph, self.propagation, self.by = model, graph, propagation, by
        self.along, self.hops, self.propagates_interactions = along.within(edges, graph), len(propagation.layers), False
        steps = graph.schema.behaviours(model.behaviours)
        self.reads = tuple(edge in edges.edge_types or edge in steps for edge in graph.edge_types)
        #: LongTensor [R], the number of each relation among the behaviours that are read; -1: it is none
        self.behaviour = torch.tensor([steps.index(edge) if edge in steps else -1 for edge in graph.edge_types])
        self.items = graph.range(graph.target[2])
        nodes = torch.arange(self.items.start, self.items.stop, device=graph.device)
        self.item_vector = propagation.vectors(nodes)  #: FloatTensor [I, D]

    def shares(self, edge: Tensor) -> tuple[Tensor, Tensor]:
        return self.along.shares(self.propagation, edge)

    def steps_shares(self, query: Query) -> Tensor | None:
        found = self.model.attention(query)
        return None if found is None else found[0]

    def slopes(self, query: Query, item: int) -> Callable[[Tensor], Tensor]:
        history = query.history[0]
        nodes = torch.cat([history, torch.tensor([item], device=history.device)]).unique()
        nodes = nodes[(nodes >= self.items.start) & (nodes < self.items.stop)]
        place = torch.full((self.graph.num_nodes + 1,), len(nodes), device=history.device)
        place[nodes] = torch.arange(len(nodes), device=history.device)

        def score(vector: Tensor) -> Tensor:
            table = Vectors(0, functional.pad(vector, (0, 0, 0, 1)))
            user = self.model.vector_of(query, table, lambda steps: place[steps])
            return product(self.model.config, user, table, place[item : item + 1], serves=True).sum()

        of_entries = self.propagation.slopes(nodes, score)
        whole = self.scores(query, Masks.none(history.device), torch.tensor([item], device=history.device))[0, 0]

        def falls(edge: Tensor) -> Tensor:
            found = self.along.falls(of_entries, edge)
            steps = (self.graph.head[edge] == query.user[0]) & (self._behaviour(edge) >= 0)
            steps = steps.nonzero().squeeze(1)  # a step is there or not, so its fall is computed
            masks = Masks(torch.arange(len(steps) + 1, device=edge.device), edge[steps])
            without = self.scores(query, masks, torch.tensor([item], device=edge.device))[:, 0]
            return found.index_add(0, steps, whole - without) if len(steps) else found

        return falls

    def scores(self, query: Query, masks: Masks, items: Tensor) -> Tensor:
        nodes = torch.cat([query.history[0], items]).unique()
        nodes = nodes[(nodes >= self.items.start) & (nodes < self.items.stop)]
        mask, entry = self.along.masked(masks)
        changed = self.propagation.masked(mask, entry, nodes)
        table = Vectors(0, torch.cat([self.item_vector, functional.pad(changed.vector, (0, 0, 0, 1))]))
        parts = torch.arange(len(masks), device=items.device).split(AT_ONCE)
        return torch.cat([self._scores(query, masks, part, changed, table, items) for part in parts])

    def _scores(
        self, query: Query, masks: Masks, part: Tensor, changed: Changed, table: Vectors, items: Tensor
    ) -> Tensor:
        """The scores under some masks, LongTensor [p]: [p, C]. table: the vectors of all items, then the changed
        ones."""

        def rows(nodes: Tensor) -> Tensor:
            row = changed.row(part.unsqueeze(1).expand_as(nodes), nodes, self.propagation.num_nodes)
            inside = (nodes >= self.items.start) & (nodes < self.items.stop)
            own = torch.where(inside, nodes - self.items.start, table.count)
            return torch.where((row >= 0) & inside, row + len(self.item_vector), own)

        vector, bias = self.model.vector_of(self._without(query, masks, part), table, rows), self.model.item_bias
        found = product(self.model.config, vector, table, rows(items.expand(len(part), -1)), serves=True)
        return found if bias is None else found + bias(items).squeeze(-1)

    def _behaviour(self, edge: Tensor) -> Tensor:
        """The number of each edge's behaviour among those that are read; -1: it is none. LongTensor like `edge`."""
        return self.behaviour.to(edge.device)[self.graph.relation[edge]]

    def _without(self, query: Query, masks: Masks, part: Tensor) -> Query:
        """The user's history without the steps that each mask takes: p queries."""
        history = query.history[:1].expand(len(part), -1)
        kept = history != self.graph.pad
        of_user = (self.graph.head[masks.edge] == query.user[0]) & (self._behaviour(masks.edge) >= 0)
        row, edge = masks.row[of_user], masks.edge[of_user]
        place = torch.searchsorted(part, row).clamp(max=len(part) - 1)
        for at_row, one in zip(place[part[place] == row].tolist(), edge[part[place] == row]):
            taken = history[at_row] == self.graph.tail[one]
            if query.behaviour is not None:
                taken = taken & (query.behaviour[0] == self._behaviour(one))
            kept[at_row] &= ~taken
        order = kept.long().argsort(dim=1, stable=True)
        kept = kept.gather(1, order)

        def at(values: Tensor | None, otherwise: int) -> Tensor | None:
            if values is None:
                return None
            return torch.where(kept, values[:1].expand(len(part), -1).gather(1, order), otherwise)

        found = at(query.history, self.graph.pad)
        assert found is not None
        now = None if query.now is None else query.now[:1].expand(len(part))
        return replace(
            query,
            user=query.user[:1].expand(len(part)),
            history=found,
            time=at(query.time, NO_TIME),
            weight=at(query.weight, 0),
            behaviour=at(query.behaviour, -1),
            now=now,
        )
