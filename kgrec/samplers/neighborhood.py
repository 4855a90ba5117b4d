"""The neighborhood of a batch: nodes around seeds and the edges between them, hop by hop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph.schema import EdgeType
from kgrec.samplers.directions import Directions

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """Nodes around seeds, and for each node that was reached before the last hop edges into it, in CSR form.

    Nodes are known by their rows in `node`: seeds first, rising, then nodes by the hop at which they were first
    reached. Targets are all nodes but those first reached at the last hop; edges of target t are ptr[t] to ptr[t + 1].
    """

    directions: Directions  #: of which graph, forwards or in both directions
    node: Tensor  #: LongTensor [n], flat
    hops: tuple[int, ...]  #: [k + 1], nodes after each hop; hops[0] is the number of seeds
    edges: tuple[int, ...]  #: [k + 1], edges after each hop; edges[0] is 0
    ptr: Tensor  #: LongTensor [targets + 1]
    source: Tensor  #: LongTensor [e], rows of `node`
    relation: Tensor  #: LongTensor [e], number of the edge type, as in `graph.both_ways()`
    edge: Tensor  #: LongTensor [e], position in `graph.both_ways()`
    example: Tensor | None = None  #: LongTensor [n], where every example has a neighborhood of its own

    @property
    def target(self) -> Tensor:
        """The row of each edge's target, LongTensor [e], rising."""
        rows = torch.arange(len(self.ptr) - 1, device=self.node.device)
        return rows.repeat_interleave(self.ptr.diff(), output_size=len(self.edge))

    @property
    def edge_index(self) -> Tensor:
        """Source and target of each edge as PyG's message passing takes them, LongTensor [2, e]."""
        return torch.stack([self.source, self.target])

    @property
    def time(self) -> Tensor:
        """Unix seconds of each edge, LongTensor [e], NO_TIME for facts."""
        return self.directions.graph.time[self.directions.edge(self.edge)]

    @property
    def weight(self) -> Tensor:
        """Weight of each edge, FloatTensor [e]."""
        return self.directions.graph.weight[self.directions.edge(self.edge)]

    def find(self, node: Tensor, example: Tensor | None = None) -> Tensor:
        """Rows of seeds, LongTensor like `node`; -1 for what is no seed, as a pad.

        node: flat. example: whose, where each has a neighborhood of its own; None: node is [B, *], of examples 0 to
        B - 1.
        """
        key = node
        if self.example is not None:
            if example is None:
                example = torch.arange(len(node), device=node.device).view(-1, *[1] * (node.dim() - 1))
            key = example * (self.directions.graph.num_nodes + 1) + node
        if not self.hops[0]:
            return torch.full_like(key, -1)
        row = torch.searchsorted(self._seeds, key.contiguous()).clamp_(max=self.hops[0] - 1)
        return row.masked_fill_(self._seeds[row] != key, -1)

    @cached_property
    def _seeds(self) -> Tensor:
        seeds = self.node[: self.hops[0]]
        if self.example is None:
            return seeds
        return self.example[: self.hops[0]] * (self.directions.graph.num_nodes + 1) + seeds

    def trim(self, hops: int) -> Neighborhood:
        """The neighborhood of the first so many hops, as slices of this one.

        Layer l = 1 .. k of a GNN reads `trim(k - l + 1)`: it has a vector for each of its nodes, and gives one for each
        of its targets, which are the nodes of the next layer. Raises KgrecError where there are no such hops.
        """
        if not 1 <= hops < len(self.hops):
            raise KgrecError(f"a neighborhood of {len(self.hops) - 1} hops has no first {hops}; 1 or more are wanted")
        nodes, edges = self.hops[hops], self.edges[hops]
        return replace(
            self,
            node=self.node[:nodes],
            hops=self.hops[: hops + 1],
            edges=self.edges[: hops + 1],
            ptr=self.ptr[: self.hops[hops - 1] + 1],
            source=self.source[:edges],
            relation=self.relation[:edges],
            edge=self.edge[:edges],
            example=None if self.example is None else self.example[:nodes],
        )

    @cached_property
    def kind(self) -> Tensor:
        """Number of each node's type, LongTensor [n]."""
        starts = [nodes.start for nodes in self.directions.graph.ranges.values()]
        return torch.searchsorted(torch.tensor(starts, device=self.node.device), self.node, right=True) - 1

    def nodes_by_type(self) -> Iterator[tuple[str, range, Tensor]]:
        """Of each node type: its name, its flat numbers, and the rows that are of it, LongTensor, rising."""
        rows = _parts(self.kind, len(self.directions.graph.ranges))
        for (name, numbers), part in zip(self.directions.graph.ranges.items(), rows):
            yield name, numbers, part

    def edges_by_type(self) -> Iterator[tuple[EdgeType, int, Tensor]]:
        """Of each edge type: its name, the position of its first edge, and which edges are of it, LongTensor."""
        yield from zip(
            self.directions.edge_types,
            self.directions.relation_ptr,
            _parts(self.relation, self.directions.num_relations),
        )

    def hetero(self) -> HeteroData:
        """The neighborhood as PyG's HeteroData: of each node type `n_id` (local numbers) and the features that
        `graph.data` has, of each edge type `edge_index`, `e_id` (positions in the type), `time` and `weight`."""
        from torch_geometric.data import HeteroData

        data, whole, graph = HeteroData(), self.directions.graph.data, self.directions.graph
        place = torch.empty_like(self.node)  # among the nodes of the type
        for name, numbers, rows in self.nodes_by_type():
            place[rows] = torch.arange(len(rows), device=rows.device)
            local = self.node[rows] - numbers.start
            data[name].n_id, data[name].num_nodes = local, len(local)
            for column, values in whole[name].items():
                if isinstance(values, Tensor):
                    data[name][column] = values[local.to(values.device)]
            if self.example is not None:
                data[name].batch = self.example[rows]
        ends, position = place[self.edge_index], self.directions.edge(self.edge)
        for edge_type, start, part in self.edges_by_type():
            data[edge_type].edge_index, data[edge_type].e_id = ends[:, part], self.edge[part] - start
            data[edge_type].time, data[edge_type].weight = graph.time[position[part]], graph.weight[position[part]]
        return data


def _parts(number: Tensor, count: int) -> tuple[Tensor, ...]:
    """Where each of 0 .. count - 1 stands in `number`, LongTensors, rising."""
    return number.argsort(stable=True).split(torch.bincount(number, minlength=count).tolist())
