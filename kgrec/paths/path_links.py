"""The edges of a graph as links, read from both ends: a fact that is stated twice, or backwards, is one link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kgrec.graph import Graph


@dataclass(frozen=True, eq=False)
class PathLinks:
    """The links of some relations of a graph, n of them. All numbers are int64, nodes are flat."""

    graph: Graph
    relation: np.ndarray  #: [n], number of the edge type that names it; never one that is the inverse of another
    head: np.ndarray  #: [n]
    tail: np.ndarray  #: [n]
    edge_ptr: np.ndarray  #: [n + 1]
    edge: np.ndarray  #: [E], the edges that state link l are edge[edge_ptr[l] : edge_ptr[l + 1]]
    node_ptr: np.ndarray  #: [N + 1]
    other: np.ndarray  #: [2 n], the nodes that node v is linked to are other[node_ptr[v] : node_ptr[v + 1]]
    link: np.ndarray  #: [2 n], by which link each
    is_behaviour: np.ndarray  #: bool [R], by the number of the edge type, whether it joins users and items

    @staticmethod
    def of(graph: Graph, reads: tuple[bool, ...]) -> PathLinks:
        """The links of a graph. reads: of which relations, by their numbers."""
        from kgrec.graph import edge_kernels  # numba takes its time to come

        number = {edge: at for at, edge in enumerate(graph.edge_types)}
        named, turned = np.arange(len(number)), np.zeros(len(number), bool)
        for (source, name, target), which in number.items():
            inverse = graph.schema.edges[source, name, target].inverse_of
            if inverse is not None and (target, inverse, source) in number:
                named[which], turned[which] = number[target, inverse, source], True
        edge = np.flatnonzero(np.asarray(reads, bool)[graph.relation.cpu().numpy()])
        relation, size = graph.relation.cpu().numpy()[edge], graph.num_nodes
        head, tail = graph.head.cpu().numpy()[edge], graph.tail.cpu().numpy()[edge]
        swapped = turned[relation]
        head, tail = np.where(swapped, tail, head), np.where(swapped, head, tail)
        key = (named[relation] * size + head) * size + tail
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        at = order[first]
        ends = np.concatenate([head[at], tail[at]])
        node_ptr, place = edge_kernels.group(ends, size)
        link = np.concatenate([np.arange(len(at)), np.arange(len(at))])
        other = np.concatenate([tail[at], head[at]])
        behaviours = np.array([graph.schema.is_behaviour(one) for one in number], bool)
        return PathLinks(
            graph,
            named[relation[at]],
            head[at],
            tail[at],
            np.append(first, len(order)),
            edge[order],
            node_ptr,
            other[place],
            link[place],
            behaviours,
        )

    def around(self, node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All links of some nodes [n]: the position in `node` of each, the other end and the link; int64 [m]."""
        which, place = ranges(self.node_ptr[node], self.node_ptr[node + 1])
        return which, self.other[place], self.link[place]

    def edges(self, link: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The edges that state some links [n]: the position in `link` of each, and the edge; int64 [m]."""
        which, place = ranges(self.edge_ptr[link], self.edge_ptr[link + 1])
        return which, self.edge[place]

    def degree(self, node: np.ndarray) -> np.ndarray:
        """The number of links of nodes, in their shape."""
        found: np.ndarray = self.node_ptr[node + 1] - self.node_ptr[node]
        return found


def ranges(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers of n ranges one after the other: which range each is of, and the number.

    >>> ranges(np.array([4, 7]), np.array([6, 8]))
    (array([0, 0, 1]), array([4, 5, 7]))
    """
    size = stop - start
    which = np.repeat(np.arange(len(start)), size)
    return which, np.arange(len(which)) + np.repeat(start - (np.cumsum(size) - size), size)
