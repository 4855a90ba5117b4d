"""Neighbors: the k-hop neighborhood of a batch over all relations at once, drawn uniformly without replacement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import CSR, NO_TIME, Graph
from kgrec.samplers.batch import Batch
from kgrec.samplers.ways import Ways
from kgrec.schema import EdgeType

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

FOREVER = torch.iinfo(torch.int64).max  #: a time that all edges are before


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """Nodes around seeds, and for each node that was reached before the last hop edges into it, in CSR form.

    Nodes are known by their rows in `node`: seeds first, rising, then nodes by the hop at which they were first
    reached. Targets are all nodes but those first reached at the last hop; edges of target t are ptr[t] to ptr[t + 1].
    """

    ways: Ways  #: of which graph, forwards or both ways
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
        return self.ways.graph.time[self.ways.edge(self.edge)]

    @property
    def weight(self) -> Tensor:
        """Weight of each edge, FloatTensor [e]."""
        return self.ways.graph.weight[self.ways.edge(self.edge)]

    def find(self, node: Tensor, example: Tensor | None = None) -> Tensor:
        """Rows of seeds, LongTensor like `node`; -1 for what is no seed, as a pad.

        node: flat. example: whose, where each has a neighborhood of its own; None: node is [B, *], of examples 0 to
        B - 1.
        """
        key = node
        if self.example is not None:
            if example is None:
                example = torch.arange(len(node), device=node.device).view(-1, *[1] * (node.dim() - 1))
            key = example * (self.ways.graph.num_nodes + 1) + node
        if not self.hops[0]:
            return torch.full_like(key, -1)
        row = torch.searchsorted(self._seeds, key.contiguous()).clamp_(max=self.hops[0] - 1)
        return row.masked_fill_(self._seeds[row] != key, -1)

    @cached_property
    def _seeds(self) -> Tensor:
        seeds = self.node[: self.hops[0]]
        if self.example is None:
            return seeds
        return self.example[: self.hops[0]] * (self.ways.graph.num_nodes + 1) + seeds

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
        starts = [nodes.start for nodes in self.ways.graph.ranges.values()]
        return torch.searchsorted(torch.tensor(starts, device=self.node.device), self.node, right=True) - 1

    def nodes_by_type(self) -> Iterator[tuple[str, range, Tensor]]:
        """Of each node type: its name, its flat numbers, and the rows that are of it, LongTensor, rising."""
        rows = _parts(self.kind, len(self.ways.graph.ranges))
        for (name, numbers), part in zip(self.ways.graph.ranges.items(), rows):
            yield name, numbers, part

    def edges_by_type(self) -> Iterator[tuple[EdgeType, int, Tensor]]:
        """Of each edge type: its name, the position of its first edge, and which edges are of it, LongTensor."""
        yield from zip(self.ways.edge_types, self.ways.relation_ptr, _parts(self.relation, self.ways.num_relations))

    def hetero(self) -> HeteroData:
        """The neighborhood as PyG's HeteroData: of each node type `n_id` (local numbers) and the features that
        `graph.data` has, of each edge type `edge_index`, `e_id` (positions in the type), `time` and `weight`."""
        from torch_geometric.data import HeteroData

        data, whole, graph = HeteroData(), self.ways.graph.data, self.ways.graph
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
        ends, position = place[self.edge_index], self.ways.edge(self.edge)
        for edge_type, start, part in self.edges_by_type():
            data[edge_type].edge_index, data[edge_type].e_id = ends[:, part], self.edge[part] - start
            data[edge_type].time, data[edge_type].weight = graph.time[position[part]], graph.weight[position[part]]
        return data


class Neighbors:
    """Stage: `neighborhood`, the nodes that are up to k edges away from a batch's heads, tails and negatives.

    Neighbors of a node are the sources of edges into it, of all relations together, and with both_ways also the targets
    of edges out of it, by reverse edges that are numbered as in `graph.both_ways()` and never made. Of every node that
    is first reached at hop h, `fanouts[h]` edges are drawn uniformly without replacement, all where it has no more; -1:
    all.

    before: only edges strictly before the seed edge's time (and those without time) are seen, so every example has a
    neighborhood of its own. exclude: edges between the two ends of a seed pair, head and tail, are not seen, in
    whichever direction and of whichever relation, and draws are uniform over the others; with `before`, where each
    example is apart, those of its own pair.

    Raises KgrecError where a fan-out is neither -1 nor 1 or more.

    >>> import pandas as pd
    >>> from kgrec.samplers import Edges, Loader
    >>> rows = [("ann", "Alien"), ("bob", "Alien"), ("bob", "Brazil")]
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): pd.DataFrame(rows, columns=["source", "target"])})
    >>> batch = next(iter(Loader(Edges(graph), Neighbors(graph, [-1, -1]), batch_size=1, shuffle=False)))
    >>> around = batch.neighborhood  # ann is node 0, bob 1, Alien 2, Brazil 3; ann's edge to Alien is not seen
    >>> around.node.tolist(), around.hops
    ([0, 2, 1, 3], (2, 3, 4))
    """

    by_example = False  # a batch shares its neighborhood

    def __init__(
        self,
        graph: Graph,
        fanouts: Sequence[int],
        *,
        both_ways: bool = True,
        before: bool = False,
        exclude: bool = True,
    ) -> None:
        wrong = [fanout for fanout in fanouts if fanout < 1 and fanout != -1]
        if wrong or not len(fanouts):
            found = f"fan-outs are {list(fanouts)}" if wrong else "there are no fan-outs"
            raise KgrecError(f"neighbors: {found}; one a hop is wanted, 1 or more, or -1 for all neighbors")
        self.graph, self.fanouts = graph, tuple(fanouts)
        self.before, self.exclude = before, exclude
        self.ways = Ways(graph, both=both_ways)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        head, tail, whose = self._pairs(batch)
        if not self.before:
            nodes = [batch.head, tail]
            if batch.negative is not None:
                nodes.append(batch.negative.flatten())
            seed, example, cut = torch.cat(nodes), None, None
        else:
            if batch.time is None:
                raise KgrecError("neighbors before an edge's time want seeds that have one; these are no Edges")
            numbers = torch.arange(len(batch), device=batch.head.device)
            nodes, examples = [batch.head, tail], [numbers, whose]
            if batch.negative is not None:
                negative = batch.negative.view(1 if batch.negative.dim() == 1 else len(batch), -1).expand(
                    len(batch), -1
                )
                nodes.append(negative.flatten())
                examples.append(numbers.repeat_interleave(negative.shape[1]))
            seed, example, cut = torch.cat(nodes), torch.cat(examples), batch.time
        pairs = (head, tail, whose) if self.exclude else None
        return replace(batch, neighborhood=self._around(seed, generator, example, cut, pairs))

    def around(
        self,
        nodes: Tensor,
        generator: torch.Generator,
        time: Tensor | None = None,
        *,
        exclude: tuple[Tensor, Tensor] | None = None,
    ) -> Neighborhood:
        """The neighborhood of these nodes (flat; pads are left out), LongTensor [S].

        time: LongTensor [S], where edges before one are asked for; every node is an example then. exclude: heads and
        tails of pairs whose edges are not to be seen, LongTensors [P], which are seeds as well. Raises KgrecError where
        times are missing, or not asked for, or come with pairs.
        """
        if self.before != (time is not None):
            raise KgrecError(
                "neighbors with before=True want a time for each node" if self.before else "times want before=True"
            )
        if exclude is None:
            example = torch.arange(len(nodes), device=nodes.device) if self.before else None
            return self._around(nodes, generator, example, time, None)
        if self.before:
            raise KgrecError("around nodes, each at its own time, no pairs are left out; the time leaves out theirs")
        return self._around(torch.cat([nodes, *exclude]), generator, None, None, (*exclude, exclude[0]))

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Heads and tails of all true pairs, and the example each is of, LongTensors [P]; pads have none."""
        numbers = torch.arange(len(batch), device=batch.head.device)
        if batch.ptr is not None:
            whose = numbers.repeat_interleave(batch.ptr.diff())
        else:
            whose = numbers.repeat_interleave(batch.tail[0].numel() if len(batch) else 0)
        tail = batch.tail.flatten()
        real = tail != self.graph.pad
        if not real.all():
            tail, whose = tail[real], whose[real]
        return batch.head[whose], tail, whose

    def _around(
        self,
        seed: Tensor,
        generator: torch.Generator,
        example: Tensor | None,
        cut: Tensor | None,
        pairs: tuple[Tensor, Tensor, Tensor] | None,
    ) -> Neighborhood:
        """Around distinct seeds: seed LongTensor [S]; example LongTensor [S] or None; cut LongTensor [examples] or
        None; pairs: heads, tails and examples of the edges not to see, LongTensors [P]."""
        stride = self.graph.num_nodes + 1
        key = seed if example is None else example * stride + seed
        key = key[seed != self.graph.pad].unique()
        excluded = key.new_empty(0)  # seed's row * stride + the other end, rising
        if pairs is not None and len(key):
            head, tail, whose = pairs
            first, second = (end if example is None else whose * stride + end for end in (head, tail))
            row = torch.searchsorted(key, torch.cat([first, second]))
            excluded = (row * stride + torch.cat([tail, head])).unique()
        if cut is not None:
            cut = cut.clamp(min=NO_TIME + 1)  # facts are before any time
        if example is None:
            seed, example = key, None
        else:
            seed, example = key % stride, key // stride
        draw = self._compiled if self.graph.device.type == "cpu" else self._vectorised
        return draw(seed, example, cut, excluded, generator)

    # ------------------------------------------------------------------ on the CPU

    def _compiled(
        self,
        seed: Tensor,
        example: Tensor | None,
        cut: Tensor | None,
        excluded: Tensor,
        generator: torch.Generator,
    ) -> Neighborhood:
        from kgrec.samplers import kernels

        stride, none = self.graph.num_nodes + 1, np.empty(0, np.int64)
        starts = torch.arange(len(seed) + 1) * stride
        node, owner, hops, edges, ptr, source, relation, edge = kernels.neighborhood(
            seed.numpy(),
            none if example is None else example.numpy(),
            none if cut is None else cut.numpy(),
            np.array(self.fanouts),
            *self._rows,
            self.ways.ptr.numpy(),
            torch.searchsorted(excluded, starts).numpy(),
            (excluded % stride).numpy(),
            int(torch.randint(FOREVER, (), generator=generator)),
        )
        return Neighborhood(
            self.ways,
            torch.from_numpy(node),
            tuple(hops.tolist()),
            (0, *edges.tolist()),
            torch.from_numpy(ptr),
            torch.from_numpy(source),
            torch.from_numpy(relation),
            torch.from_numpy(edge),
            None if example is None else torch.from_numpy(owner),
        )

    @cached_property
    def _rows(self) -> list[tuple[np.ndarray, ...]]:
        """What the kernel reads of edges into nodes and, backwards, out of them; an empty ptr: none of these."""
        sides = [(self.graph.csc, self.graph.time)]
        outward = self.ways.outward
        if outward is not None and outward.num_edges:
            sides.append((outward.csr, outward.time))
        rows: list[tuple[np.ndarray, ...]] = [
            (csr.ptr.numpy(), csr.edge.numpy(), csr.other.numpy(), time.numpy()) for csr, time in sides
        ]
        if len(rows) == 1:
            rows.append((rows[0][0][:0], *rows[0][1:]))
        return rows

    # ------------------------------------------------------------------ vectorised

    def _vectorised(
        self,
        seed: Tensor,
        example: Tensor | None,
        cut: Tensor | None,
        excluded: Tensor,
        generator: torch.Generator,
    ) -> Neighborhood:
        stride = self.graph.num_nodes + 1
        node, owner = seed, example
        key = node if owner is None else owner * stride + node
        number = torch.arange(len(seed), device=seed.device)  # rows of `key`, which is kept rising
        hops, edges, first = [len(seed)], [0], 0
        counts, sources, positions = [], [], []
        for fanout in self.fanouts:
            last = len(node)
            front, whose = node[first:], None if owner is None else owner[first:]
            row, other, position = self._draw(
                front, None if whose is None or cut is None else cut[whose], fanout, excluded, generator
            )
            excluded = excluded[:0]  # only seeds have any
            wanted = other if whose is None else whose[row] * stride + other
            if len(wanted):
                at = torch.searchsorted(key, wanted).clamp_(max=len(key) - 1)
                new = wanted[key[at] != wanted].unique()
                node = torch.cat([node, new if owner is None else new % stride])
                owner = None if owner is None else torch.cat([owner, new // stride])
                key, order = torch.cat([key, new]).sort()
                number = torch.cat([number, torch.arange(last, len(node), device=node.device)])[order]
                wanted = number[torch.searchsorted(key, wanted)]
            counts.append(torch.bincount(row, minlength=len(front)))
            sources.append(wanted)
            positions.append(position)
            hops.append(len(node))
            edges.append(edges[-1] + len(position))
            first = last
        edge = torch.cat(positions)
        ptr = torch.cat([edge.new_zeros(1), torch.cat(counts).cumsum(0)])
        relation = self.ways.relation(edge)
        return Neighborhood(
            self.ways, node, tuple(hops), tuple(edges), ptr, torch.cat(sources), relation, edge, example=owner
        )

    def _draw(
        self, front: Tensor, cut: Tensor | None, fanout: int, excluded: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Edges drawn for each node of `front` [n]: its place there, rising; the other end; the position."""
        stride, sides = self.graph.num_nodes + 1, self._sides
        start = torch.stack([csr.ptr[front] for csr, _, _ in sides])  # [sides, n]
        stop = torch.stack([csr.ptr[front + 1] for csr, _, _ in sides])
        if cut is not None:
            stop = torch.stack([_first_from(*side[:2], a, b, cut) for side, a, b in zip(sides, start, stop)])
        degrees = stop - start
        degree = degrees.sum(0)
        want = degree if fanout == -1 else degree.clamp(max=fanout)
        if len(excluded) and fanout != -1:  # so many more, for as many as are left out at most
            row, other = excluded // stride, excluded % stride
            count = self.graph.count_edges(other, front[row])
            if self.ways.outward is not None and self.ways.outward.num_edges:
                count = count + self.ways.outward.count_edges(front[row], other)
            want = torch.minimum(want + torch.zeros_like(want).index_add_(0, row, count), degree)
        row, place = _positions(degree, want, generator)
        ends, at = [], []
        for number, (csr, _, shift) in enumerate(sides):
            inside = (place >= 0) & (place < degrees[number][row])
            index = torch.where(inside, start[number][row] + place, 0)
            ends.append(torch.where(inside, csr.other[index].long(), 0))
            at.append(torch.where(inside, csr.edge[index] + shift, 0))
            place = place - degrees[number][row]
        other, position = sum(ends[1:], ends[0]), sum(at[1:], at[0])
        if len(excluded):
            pair = row * stride + other
            found = torch.searchsorted(excluded, pair).clamp_(max=len(excluded) - 1)
            kept = (excluded[found] != pair).nonzero().squeeze(1)
            if fanout != -1:  # of the others any `fanout`
                kept = kept[torch.rand(len(kept), generator=generator, device=kept.device).argsort()]
                kept = kept[row[kept].argsort(stable=True)]
                size = torch.bincount(row[kept], minlength=len(front))
                rank = torch.arange(len(kept), device=kept.device) - (size.cumsum(0) - size)[row[kept]]
                kept = kept[rank < fanout]
            row, other, position = row[kept], other[kept], position[kept]
        return row, other, position

    @cached_property
    def _sides(self) -> list[tuple[CSR, Tensor, int]]:
        """Edges into nodes and, backwards, out of them; their times; and what is added to make positions."""
        outward = self.ways.outward
        sides = [(self.graph.csc, self.graph.time, 0)]
        if outward is not None and outward.num_edges:
            sides.append((outward.csr, outward.time, self.graph.num_edges))
        return sides


def _parts(number: Tensor, count: int) -> tuple[Tensor, ...]:
    """Where each of 0 .. count - 1 stands in `number`, LongTensors, rising."""
    return number.argsort(stable=True).split(torch.bincount(number, minlength=count).tolist())


def _first_from(csr: CSR, time: Tensor, start: Tensor, stop: Tensor, cut: Tensor) -> Tensor:
    """The first place of each row whose time is not before the cut: a binary search in all rows. LongTensor [n]."""
    for _ in range(int((stop - start).max()).bit_length() if len(start) else 0):
        searching, middle = start < stop, (start + stop) // 2
        earlier = time[csr.edge[middle.clamp(max=len(csr.edge) - 1)]] < cut
        start = torch.where(searching & earlier, middle + 1, start)
        stop = torch.where(searching & ~earlier, middle, stop)
    return start


def _positions(degree: Tensor, want: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`want` of `degree` positions of each row, LongTensors [n], every set as likely (Floyd's algorithm in all rows).

    Returns the row of each draw, rising, and the position.
    """
    whole, device = want >= degree, degree.device
    row = torch.arange(len(degree), device=device)[whole].repeat_interleave(degree[whole])
    start = (degree[whole].cumsum(0) - degree[whole]).repeat_interleave(degree[whole])
    position = torch.arange(len(row), device=device) - start
    part = (~whole).nonzero().squeeze(1)
    if not len(part):
        return row, position
    width = int(want[part].max())
    drawn = torch.full((len(part), width), -1, device=device)
    for step in range(width):
        last = degree[part] - width + step
        uniform = torch.rand(len(part), generator=generator, device=device, dtype=torch.float64)
        chosen = (uniform * (last + 1)).long()
        chosen = torch.where((drawn[:, :step] == chosen[:, None]).any(1), last, chosen)
        drawn[:, step] = torch.where(step >= width - want[part], chosen, -1)
    taken = drawn >= 0
    row = torch.cat([row, part[:, None].expand_as(drawn)[taken]])
    position = torch.cat([position, drawn[taken]])
    order = row.argsort(stable=True)
    return row[order], position[order]
