"""kgrec's neighbor sampling for PyG's own NodeLoader and LinkLoader; neither pyg-lib nor torch-sparse is needed."""

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
    """The sampling of `Neighbors` for PyG's NodeLoader(data, node_sampler=...) and LinkLoader(data, link_sampler=...).

    data must be `graph.both_ways().data`, or with both_ways=False `graph.data`. The graph must be on the CPU, where
    PyG's loaders sample. A fan-out counts the neighbors of all relations together. before: each seed (each end of a
    pair) has its own neighborhood of edges strictly before its time; pass the times to the loader as `input_time` or
    `edge_label_time`. exclude: edges between the two ends of a seed pair are not used, in either direction and of any
    relation. generator: None uses torch's global one, which `torch.manual_seed` sets; each worker has its own.

    Raises KgrecError if the graph is not on the CPU, a fan-out is wrong, or both before and exclude are set.

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
                "with before=True a pair's edge is left out by its time already, so exclude=True does not apply; leave "
                "out before or exclude"
            )
        if graph.device.type != "cpu":
            raise KgrecError(
                f"the graph is on {graph.device}; PyG's loaders sample on the CPU, so pass graph.to('cpu')"
            )
        self.neighbors = Neighbors(graph, fanouts, both_ways=both_ways, before=before)
        self.graph, self.before, self.exclude, self.generator = graph, before, exclude, generator

    def sample_from_nodes(self, index: NodeSamplerInput, **options: object) -> HeteroSamplerOutput:
        """The neighborhood of input nodes of one type; these come first, in the given order.

        Raises KgrecError for a repeated node, and for times that are missing or given without before=True.
        """
        return node_sample(index, self._sample)

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> HeteroSamplerOutput:
        """The neighborhood of the ends of the input pairs and of PyG's negatives, with PyG's labels and indices.

        Raises KgrecError for times that are missing or given without before=True.
        """
        if self.before != (index.time is not None):
            raise KgrecError(
                "before=True needs times; pass edge_label_time to the loader"
                if self.before
                else "times are used only with before=True; set it, or leave out edge_label_time"
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
        """seeds, time: LongTensors by node type; pairs: flat ends of the edges not to use, LongTensors [P]."""
        nodes = torch.cat([local + self.graph.range(name).start for name, local in seeds.items()])
        times = None if time is None else torch.cat([time[name] for name in seeds])
        around = self.neighbors.around(nodes, self.generator or torch.default_generator, times, exclude=pairs)
        if around.hops[0] < len(nodes):
            raise KgrecError(
                f"{len(nodes) - around.hops[0]} of {len(nodes)} input nodes of a batch are repeated, but a shared "
                "neighborhood needs distinct ones: sample input nodes without replacement, or set before=True"
            )
        return _output(around, around.find(nodes, torch.arange(len(nodes))))


def _output(around: Neighborhood, first: Tensor) -> HeteroSamplerOutput:
    """The neighborhood in the form of PyG's loaders. In each type, the rows `first` [seeds] come first, in this
    order."""
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
    """How many of the ascending rows lie between each end and the next."""
    return torch.searchsorted(rows, torch.tensor(ends)).diff().tolist()
