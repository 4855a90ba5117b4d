"""Seeds: they define what one example is."""

from __future__ import annotations

import torch
from torch import Tensor

from kgrec.graph import Graph
from kgrec.samplers.batch import Batch
from kgrec.samplers.directions import Directions


class Edges:
    """One example is one edge: interactions for matrix factorization, facts for TransR.

    label: name of a numeric edge feature that becomes `batch.label`. both_ways: each edge is also an example backwards,
    with its ends swapped; relations and edges are numbered as in `graph.both_ways()`, which is not built. Raises
    UnknownName if the graph's edges have no feature of this name.

    >>> import pandas as pd
    >>> rated = pd.DataFrame({"source": ["ann", "bob"], "target": ["Alien", "Brazil"], "weight": [4.0, 5.0]})
    >>> edges = Edges(Graph.from_frames(edges={("user", "rated", "film"): rated}))
    >>> batch = edges[torch.tensor([1])]
    >>> batch.head.tolist(), batch.tail.tolist(), batch.weight.tolist()
    ([1], [3], [5.0])
    """

    by_example = True

    def __init__(self, graph: Graph, label: str | None = None, *, both_ways: bool = False) -> None:
        self.graph, self.directions = graph, Directions(graph, both=both_ways)
        self.label = None if label is None else _labels(graph, label)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.graph.device

    def __len__(self) -> int:
        return self.directions.num_edges

    def __getitem__(self, index: Tensor) -> Batch:
        graph, edge = self.graph, self.directions.edge(index)
        head, tail = self.directions.ends(index)
        return Batch(
            head=head,
            tail=tail,
            relation=self.directions.relation(index),
            time=graph.time[edge],
            weight=graph.weight[edge],
            edge=index,
            label=None if self.label is None else self.label[edge],
        )


def _labels(graph: Graph, name: str) -> Tensor:
    """The numeric edge feature of this name, FloatTensor [E]."""
    columns = [graph.edge_feature(edge, name).values for edge in graph.edge_types]
    return torch.cat(columns).to(graph.device)


class Nodes:
    """One example is a node of a type with all its neighbors: a sparse multi-hot row. Nodes without neighbors are left
    out.

    It is for models that read whole rows (a full softmax, a GAN). Neighbors are the targets of the node's edges in
    `graph`, so pass one relation: `Nodes(graph.only("rated"), "user")`. label: as in Edges; here [all neighbors].
    """

    by_example = False  # the neighbors of all examples are in one tensor

    def __init__(self, graph: Graph, node_type: str, label: str | None = None) -> None:
        nodes = graph.nodes(node_type)
        self.label = None if label is None else _labels(graph, label)
        self.graph, self.nodes = graph, nodes[graph.csr.degree()[nodes] > 0]  #: LongTensor [N with neighbors], flat

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.graph.device

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: Tensor) -> Batch:
        csr, head = self.graph.csr, self.nodes[index]
        degree = csr.ptr[head + 1] - csr.ptr[head]
        ptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        position = torch.arange(int(ptr[-1]), device=head.device)
        position += (csr.ptr[head] - ptr[:-1]).repeat_interleave(degree)
        edge = csr.edge[position]
        label = None if self.label is None else self.label[edge]
        tail = csr.other[position].long()
        return Batch(head=head, tail=tail, weight=self.graph.weight[edge], label=label, ptr=ptr)
