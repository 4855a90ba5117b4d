"""What training saw of each node. It decides which users a model can serve, which items are warm, and their
popularity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.graph.item_counts import item_counts
from kgrec.model import Recommender

COLUMNS = ("num_out", "num_in", "num_users", "reads")  #: the properties of `Trained` that a run folder keeps
BY_OTHER_EDGES, BY_BEHAVIOURS = 1, 2  #: values of `reads`: the model reads only facts, or an edge of a behaviour


class Trained:
    """The edges that training saw, counted by node. The last place is for `graph.pad`, which is no node. Each property
    is computed on first use.

    num_out: number of target edges from a node (of a user), LongTensor [N + 1]. num_in: number of target edges to a
    node (of an item), LongTensor [N + 1]. num_users: number of distinct users of an item, by which `popularity` ranks,
    FloatTensor [N + 1]. reads: which edges of a node the model reads: BY_OTHER_EDGES, BY_BEHAVIOURS, or 0 for none,
    CharTensor [N + 1]. If the model does not read all edges (`Recommender.reads_all_edges`), only edges of its
    behaviours that lead to the node count.
    """

    def __init__(self, graph: Graph, model: Recommender, device: torch.device | str | None = None) -> None:
        """graph: what training saw. model: the trained model. device: where the counts are kept; None: as the graph."""
        self.graph, self.model, self.device = graph, model, torch.device(device or graph.device)
        self.target = graph.only(graph.target).to(self.device)

    @staticmethod
    def stored(graph: Graph, model: Recommender, columns: Mapping[str, Tensor]) -> Trained:
        """Restore it from a run folder. columns: a tensor for each of COLUMNS."""
        found = Trained(graph, model)
        vars(found).update({name: columns[name].to(found.device) for name in COLUMNS})
        return found

    @property
    def columns(self) -> dict[str, Tensor]:
        """Each of COLUMNS by name."""
        return {name: getattr(self, name) for name in COLUMNS}

    @cached_property
    def num_out(self) -> Tensor:
        return functional.pad(self.target.index.num_out, (0, 1))

    @cached_property
    def num_in(self) -> Tensor:
        return functional.pad(self.target.index.num_in, (0, 1))

    @cached_property
    def num_users(self) -> Tensor:
        count, items = torch.zeros(self.graph.pad + 1, device=self.device), self.graph.range(self.graph.target[2])
        count[items.start : items.stop] = item_counts(self.target)
        return count

    @cached_property
    def reads(self) -> Tensor:
        every = reads_all_edges(self.model)
        there = (self.num_in > 0) | (self.num_out > 0) if every else self.num_in > 0
        found = there.to(torch.int8) * BY_BEHAVIOURS
        for edge_type in self.graph.edge_types:
            is_behaviour = self.graph.schema.is_behaviour(edge_type)
            is_read = every or (is_behaviour and edge_type[1] in self.model.behaviours)
            if edge_type == self.graph.target or not is_read:
                continue
            edges, how = self.graph.only(edge_type).to(self.device), BY_BEHAVIOURS if is_behaviour else BY_OTHER_EDGES
            for count in (edges.index.num_out, edges.index.num_in) if every else (edges.index.num_in,):
                there = functional.pad(count > 0, (0, 1))
                found[there] = found[there].clamp(min=how)
        return found


def reads_all_edges(model: Recommender) -> bool:
    """Whether the model, or a model inside it, knows a node by any of its edges."""
    return any(isinstance(part, Recommender) and part.reads_all_edges for part in model.modules())
