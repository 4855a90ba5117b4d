"""The sampled neighborhood of a batch: the nodes around its seeds and the edges between them, hop by hop."""

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
    """Nodes around seeds, and the sampled edges into each node that was reached before the last hop, in CSR form.

    A node is identified by its row in `node`: seeds first, ascending, then the others in the order of the hop at which
    they were first reached. Targets are all nodes except those that were first reached at the last hop. The edges into
    target t are ptr[t] to ptr[t + 1].
    """

    directions: Directions  #: the graph, read forwards or in both directions
    node: Tensor  #: LongTensor [n], flat
    hops: tuple[int, ...]  #: [k + 1], number of nodes after each hop; hops[0] is the number of seeds
    edges: tuple[int, ...]  #: [k + 1], number of edges after each hop; edges[0] is 0
    ptr: Tensor  #: LongTensor [targets + 1]
    source: Tensor  #: LongTensor [e], rows of `node`
    relation: Tensor  #: LongTensor [e], number of the edge type, as in `graph.both_ways()`
    edge: Tensor  #: LongTensor [e], position in `graph.both_ways()`
    example: Tensor | None = None  #: LongTensor [n], the example of each node; None: all examples share the nodes

    @property
    def target(self) -> Tensor:
        """The row of each edge's target, LongTensor [e], ascending."""
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
        """Rows of seeds, LongTensor like `node`; -1 for a node that is not a seed, such as graph.pad.

        node: flat. example: the example of each node, if every example has its own neighborhood; None: node is [B, *],
        for the examples 0 to B - 1.
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
        """The neighborhood of the first `hops` hops, as slices of this one.

        Layer l = 1 .. k of a GNN uses `trim(k - l + 1)`: its input is a vector for each node, its output a vector for
        each target, and these targets are the nodes of the next layer. Raises KgrecError for a number of hops that is
        not 1 to k.
        """
        if not 1 <= hops < len(self.hops):
            raise KgrecError(f"trim: hops is {hops}, but this neighborhood has hops 1 to {len(self.hops) - 1}")
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
        """For each node type: its name, its flat numbers, and the rows of its nodes, LongTensor, ascending."""
        rows = _parts(self.kind, len(self.directions.graph.ranges))
        for (name, numbers), part in zip(self.directions.graph.ranges.items(), rows):
            yield name, numbers, part

    def edges_by_type(self) -> Iterator[tuple[EdgeType, int, Tensor]]:
        """For each edge type: its name, the position of its first edge, and the positions of its edges here,
        LongTensor."""
        yield from zip(
            self.directions.edge_types,
            self.directions.relation_ptr,
            _parts(self.relation, self.directions.num_relations),
        )

    def hetero(self) -> HeteroData:
        """The neighborhood as PyG's HeteroData. Each node type has `n_id` (local numbers) and the features of
        `graph.data`; each edge type has `edge_index`, `e_id` (positions within the type), `time` and `weight`."""
        from torch_geometric.data import HeteroData

        data, whole, graph = HeteroData(), self.directions.graph.data, self.directions.graph
        place = torch.empty_like(self.node)  # position among the nodes of the type
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
    """For each value 0 .. count - 1 its positions in `number`: LongTensors, ascending."""
    return number.argsort(stable=True).split(torch.bincount(number, minlength=count).tolist())
