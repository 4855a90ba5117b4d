"""PyG's own NodeLoader and LinkLoader over these neighborhoods: no pyg-lib or torch-sparse is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
)
from torch_geometric.sampler.neighbor_sampler import edge_sample, node_sample

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.samplers.neighborhood import Neighborhood
from kgrec.samplers.neighbors import Neighbors


class PyGSampler(BaseSampler):
    """What `Neighbors` draws, for PyG's NodeLoader(data, node_sampler=...) and LinkLoader(data, link_sampler=...).

    data is `graph.both_ways().data`, or with both_ways=False `graph.data`; the graph is on the CPU, where these loaders
    sample. A fan-out counts neighbors of all relations together. before: each seed (of a pair, each end) has a
    neighborhood of its own, of the edges strictly before its time, which the loader is given as `input_time` or
    `edge_label_time`. exclude: edges between the two ends of a seed pair are not seen, in whichever direction and of
    whichever relation. generator: None is torch's own, which `torch.manual_seed` sets, and each worker has its own.

    Raises KgrecError where the graph is elsewhere, a fan-out is wrong, or before and exclude are both asked for.

    >>> import pandas as pd
    >>> from torch_geometric.loader import NodeLoader
    >>> rated = pd.DataFrame({"source": ["ann", "bob", "bob"], "target": ["Alien", "Alien", "Brazil"]})
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> loader = NodeLoader(graph.both_ways().data, PyGSampler(graph, [5, 5]), input_nodes="film", batch_size=1)
    >>> batch = next(iter(loader))
    >>> batch["user"].n_id.tolist(), batch["film"].n_id.tolist()
    ([0, 1], [0, 1])
    """

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        *,
        both_ways: bool = True,
        before: bool = False,
        exclude: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        if before and exclude:
            raise KgrecError(
                "neighborhoods before a pair's time do not see its edge, and its two ends have one each, so that "
                "`exclude` is for neighborhoods that the batch shares; leave out one of the two"
            )
        if graph.device.type != "cpu":
            raise KgrecError(
                f"the graph is on {graph.device}; PyG's loaders sample on the CPU, so pass graph.to('cpu')"
            )
        self.neighbors = Neighbors(graph, fanouts, both_ways=both_ways, before=before)
        self.graph, self.before, self.exclude, self.generator = graph, before, exclude, generator

    def sample_from_nodes(self, index: NodeSamplerInput, **options: object) -> HeteroSamplerOutput:
        """The neighborhood of nodes of one type, which come first, in the order given.

        Raises KgrecError where a node is there twice, or times are missing or not asked for.
        """
        return node_sample(index, self._sample)

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput:
        """The neighborhood of the ends of pairs and of PyG's own negatives; PyG's labels and indices of them.

        Raises KgrecError where times are missing or not asked for.
        """
        if self.before != (index.time is not None):
            raise KgrecError(
                "before=True wants `edge_label_time` of the loader" if self.before else "times want before=True"
            )
        source, _, target = index.input_type
        pairs = index.row + self.graph.range(source).start, index.col + self.graph.range(target).start
        return edge_sample(
            index,
            lambda seeds, time: self._sample(seeds, time, pairs if self.exclude else None),
            {name: len(numbers) for name, numbers in self.graph.ranges.items()},
            disjoint=self.before,
            neg_sampling=neg_sampling,
        )

    def _sample(
        self,
        seeds: Mapping[str, Tensor],
        time: Mapping[str, Tensor] | None,
        pairs: tuple[Tensor, Tensor] | None = None,
    ) -> HeteroSamplerOutput:
        """seeds and time: by node type, LongTensors; pairs: flat ends of edges not to see, LongTensors [P]."""
        nodes = torch.cat([local + self.graph.range(name).start for name, local in seeds.items()])
        times = None if time is None else torch.cat([time[name] for name in seeds])
        around = self.neighbors.around(nodes, self.generator or torch.default_generator, times, exclude=pairs)
        if around.hops[0] < len(nodes):
            raise KgrecError(
                f"{len(nodes) - around.hops[0]} of {len(nodes)} input nodes of a batch are there again; neighborhoods "
                "that it shares want distinct ones: sample input nodes without replacement, or ask for `before`"
            )
        return _output(around, around.find(nodes, torch.arange(len(nodes))))


def _output(around: Neighborhood, first: Tensor) -> HeteroSamplerOutput:
    """The neighborhood as PyG's loaders take it: of each type the rows `first` [seeds] first, in that order."""
    rank, place = torch.arange(len(around.node)), torch.empty_like(around.node)
    rank[first] = torch.arange(len(first))
    node, batch, num_nodes = {}, {}, {}
    for name, numbers, rows in around.nodes_by_type():
        num_nodes[name] = _in_hops(rows, (0, *around.hops))
        rows = rows[rank[rows].argsort()]
        node[name], place[rows] = around.node[rows] - numbers.start, torch.arange(len(rows))
        if around.example is not None:
            batch[name] = around.example[rows]
    row, col, edge, num_edges = {}, {}, {}, {}
    source, target = place[around.edge_index]
    for edge_type, start, part in around.edges_by_type():
        row[edge_type], col[edge_type], edge[edge_type] = source[part], target[part], around.edge[part] - start
        num_edges[edge_type] = _in_hops(part, around.edges)
    return HeteroSamplerOutput(
        node, row, col, edge, batch or None, num_sampled_nodes=num_nodes, num_sampled_edges=num_edges
    )


def _in_hops(rows: Tensor, ends: tuple[int, ...]) -> list[int]:
    """How many of the rows, which rise, lie between each end and the next."""
    return torch.searchsorted(rows, torch.tensor(ends)).diff().tolist()
