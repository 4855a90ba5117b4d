"""Neighbor sampling: the k-hop neighborhood of a batch over all relations, sampled uniformly without replacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import CSR, NO_TIME, Graph
from kgrec.samplers.batch import Batch
from kgrec.samplers.directions import Directions
from kgrec.samplers.neighborhood import Neighborhood

FOREVER = torch.iinfo(torch.int64).max  #: a time that is after all edges


class Neighbors:
    """Stage: adds `neighborhood`, the nodes that are up to k edges away from a batch's heads, tails and negatives.

    The neighbors of a node are the sources of the edges into it, over all relations together. With both_ways they are
    also the targets of the edges out of it; these backward edges are numbered as in `graph.both_ways()`, but never
    stored. For every node that is first reached at hop h, `fanouts[h]` edges are sampled uniformly without replacement;
    all edges if it has fewer, or if the fan-out is -1.

    before: use only edges strictly before the seed edge's time, and edges without a time. Then every example has its
    own neighborhood. exclude: do not use edges between the head and the tail of a seed pair, in either direction and of
    any relation; sampling is uniform over the others. With `before`, only the example's own pair is excluded.

    Raises KgrecError for a fan-out that is neither -1 nor at least 1.

    >>> import pandas as pd
    >>> from kgrec.samplers import Edges, Loader
    >>> rows = [("ann", "Alien"), ("bob", "Alien"), ("bob", "Brazil")]
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): pd.DataFrame(rows, columns=["source", "target"])})
    >>> batch = next(iter(Loader(Edges(graph), Neighbors(graph, [-1, -1]), batch_size=1, shuffle=False)))
    >>> around = batch.neighborhood  # ann is node 0, bob 1, Alien 2, Brazil 3; ann's edge to Alien is not seen
    >>> around.node.tolist(), around.hops
    ([0, 2, 1, 3], (2, 3, 4))
    """

    by_example = False  # the examples of a batch share a neighborhood

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
            raise KgrecError(f"neighbors: {found}; give one for each hop: 1 or more, or -1 for all neighbors")
        self.graph, self.fanouts = graph, tuple(fanouts)
        self.before, self.exclude = before, exclude
        self.directions = Directions(graph, both=both_ways)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        head, tail, whose = self._pairs(batch)
        if not self.before:
            nodes = [batch.head, tail]
            if batch.negative is not None:
                nodes.append(batch.negative.flatten())
            seed, example, cut = torch.cat(nodes), None, None
        else:
            if batch.time is None:
                raise KgrecError("neighbors with before=True need seeds that have a time, such as Edges")
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
        """The neighborhood of the given nodes, LongTensor [S], flat; graph.pad is left out.

        time: LongTensor [S], required with before=True; then every node is an example of its own. exclude: heads and
        tails of pairs whose edges are not used, LongTensors [P]; they are seeds too. Raises KgrecError if times are
        missing, are given without before=True, or are given together with pairs.
        """
        if self.before != (time is not None):
            raise KgrecError(
                "neighbors with before=True need a time for each node; pass time"
                if self.before
                else "neighbors use times only with before=True; set it, or leave out time"
            )
        if exclude is None:
            example = torch.arange(len(nodes), device=nodes.device) if self.before else None
            return self._around(nodes, generator, example, time, None)
        if self.before:
            raise KgrecError("with before=True the times already leave out the pairs' edges; leave out exclude")
        return self._around(torch.cat([nodes, *exclude]), generator, None, None, (*exclude, exclude[0]))

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Heads and tails of all true pairs, and the example of each: LongTensors [P]. Padding makes no pair."""
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
        """The neighborhood of the distinct seeds. seed: LongTensor [S]; example: LongTensor [S] or None; cut:
        LongTensor [examples] or None; pairs: heads, tails and examples of the edges not to use, LongTensors [P]."""
        stride = self.graph.num_nodes + 1
        key = seed if example is None else example * stride + seed
        key = key[seed != self.graph.pad].unique()
        excluded = key.new_empty(0)  # row of the seed * stride + the other end, ascending
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
        from kgrec.samplers import neighbor_kernels

        stride, none = self.graph.num_nodes + 1, np.empty(0, np.int64)
        starts = torch.arange(len(seed) + 1) * stride
        node, owner, hops, edges, ptr, source, relation, edge = neighbor_kernels.neighborhood(
            seed.numpy(),
            none if example is None else example.numpy(),
            none if cut is None else cut.numpy(),
            np.array(self.fanouts),
            *self._rows,
            self.directions.ptr.numpy(),
            torch.searchsorted(excluded, starts).numpy(),
            (excluded % stride).numpy(),
            int(torch.randint(FOREVER, (), generator=generator)),
        )
        return Neighborhood(
            self.directions,
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
        """The kernel's input: rows of the edges into nodes, and rows of the edges out of nodes (empty ptr: not
        used)."""
        sides = [(self.graph.csc, self.graph.time)]
        outward = self.directions.outward
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
        number = torch.arange(len(seed), device=seed.device)  # rows of `key`, which is kept ascending
        hops, edges, first = [len(seed)], [0], 0
        counts, sources, positions = [], [], []
        for fanout in self.fanouts:
            last = len(node)
            front, whose = node[first:], None if owner is None else owner[first:]
            row, other, position = self._draw(
                front, None if whose is None or cut is None else cut[whose], fanout, excluded, generator
            )
            excluded = excluded[:0]  # only edges of seeds are excluded
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
        relation = self.directions.relation(edge)
        return Neighborhood(
            self.directions, node, tuple(hops), tuple(edges), ptr, torch.cat(sources), relation, edge, example=owner
        )

    def _draw(
        self, front: Tensor, cut: Tensor | None, fanout: int, excluded: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Edges drawn for the nodes `front` [n]: the position of the node in `front`, ascending; the other end; the
        edge's position."""
        stride, sides = self.graph.num_nodes + 1, self._sides
        start = torch.stack([csr.ptr[front] for csr, _, _ in sides])  # [sides, n]
        stop = torch.stack([csr.ptr[front + 1] for csr, _, _ in sides])
        if cut is not None:
            stop = torch.stack([_first_from(*side[:2], a, b, cut) for side, a, b in zip(sides, start, stop)])
        degrees = stop - start
        degree = degrees.sum(0)
        want = degree if fanout == -1 else degree.clamp(max=fanout)
        if len(excluded) and fanout != -1:  # draw as many more as may have to be left out
            row, other = excluded // stride, excluded % stride
            count = self.graph.count_edges(other, front[row])
            if self.directions.outward is not None and self.directions.outward.num_edges:
                count = count + self.directions.outward.count_edges(front[row], other)
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
            if fanout != -1:  # keep any `fanout` of the allowed ones
                kept = kept[torch.rand(len(kept), generator=generator, device=kept.device).argsort()]
                kept = kept[row[kept].argsort(stable=True)]
                size = torch.bincount(row[kept], minlength=len(front))
                rank = torch.arange(len(kept), device=kept.device) - (size.cumsum(0) - size)[row[kept]]
                kept = kept[rank < fanout]
            row, other, position = row[kept], other[kept], position[kept]
        return row, other, position

    @cached_property
    def _sides(self) -> list[tuple[CSR, Tensor, int]]:
        """The edges into nodes, and the edges out of nodes if read backwards: for each a CSR, the edges' times, and the
        offset of their positions."""
        outward = self.directions.outward
        sides = [(self.graph.csc, self.graph.time, 0)]
        if outward is not None and outward.num_edges:
            sides.append((outward.csr, outward.time, self.graph.num_edges))
        return sides


def _first_from(csr: CSR, time: Tensor, start: Tensor, stop: Tensor, cut: Tensor) -> Tensor:
    """The first place in each row whose time is not before the cut, by binary search in all rows. LongTensor [n]."""
    for _ in range(int((stop - start).max()).bit_length() if len(start) else 0):
        searching, middle = start < stop, (start + stop) // 2
        earlier = time[csr.edge[middle.clamp(max=len(csr.edge) - 1)]] < cut
        start = torch.where(searching & earlier, middle + 1, start)
        stop = torch.where(searching & ~earlier, middle, stop)
    return start


def _positions(degree: Tensor, want: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws `want` of `degree` positions in each row; all sets are equally likely (Floyd's algorithm in all rows).

    degree, want: LongTensors [n]. Returns the row of each draw, ascending, and the position.
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
