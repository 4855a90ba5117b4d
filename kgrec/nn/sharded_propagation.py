"""KGAT's attention and layers over the whole graph where several processes share the vectors of its nodes: each
computes a part, block by block, from the vectors that it looks up for a block."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from kgrec import ranks
from kgrec.graph import CSR
from kgrec.nn.row_shards import BLOCK, RowShard, num_own

if TYPE_CHECKING:
    from kgrec.nn.kg_encoder import KGEncoder

EDGES = 1 << 18  #: edges whose ends are looked up at once
Read = Callable[[Tensor], Tensor]  #: from distinct flat nodes, LongTensor [n], ascending, to their vectors, [n, D]


@torch.no_grad()
def attend_in_parts(encoder: KGEncoder) -> None:
    """Compute pi of all edges, as `KGEncoder.attend` does. Each process computes every W-th block, and all get all of
    them."""
    world = ranks.world()
    for relation, (first, stop) in enumerate(itertools.pairwise(encoder.directions.relation_ptr)):
        size = min(EDGES, -(-(stop - first) // world))
        for start in range(first, stop, max(1, size * world)):
            begin = min(start + size * ranks.rank(), stop)
            found = encoder.energy.new_zeros(size)
            position = torch.arange(begin, min(begin + size, stop), device=found.device)
            if len(position):
                vectors, place = encoder.node.distinct(torch.stack(encoder.directions.ends(position)))
                tail, head = (vectors.index_select(0, end) for end in place)
                found[: len(position)] = encoder.transr.attention(head, relation, tail)
            part = encoder.energy[start : min(start + size * world, stop)]
            part.copy_(ranks.every(found).flatten()[: len(part)])


@torch.no_grad()
def layer_outputs(encoder: KGEncoder) -> Iterator[Read]:
    """What `KGEncoder.outputs` has: the nodes' own vectors, then the output of each layer, each as a function from some
    nodes to their values. It may be called until the next one is asked for. All processes go through them together."""
    assert encoder.node.rows is not None
    graph, sides = encoder.directions.graph, encoder.shares()
    rounds, count = encoder.node.rows.rounds, graph.num_nodes
    read: Read = encoder.node
    last: RowShard | None = None
    yield read
    for aggregator in encoder.aggregators:
        width = int(aggregator.width)  # type: ignore[arg-type]
        kept = graph.room(num_own(count) * width, torch.float32).view(num_own(count), width)
        layer, done = RowShard(count, kept, rounds=rounds), 0
        for node in _blocks(layer.own, sides):
            own = read(node)
            kept[done : done + len(node)] = aggregator(own, _sums(torch.zeros_like(own), node, sides, read))
            done += len(node)
        ranks.barrier()  # nobody looks rows of this layer up before all are there, or of the last one after this
        if last is not None:
            rounds.remove(last)
        last, read = layer, layer.vectors
        yield partial(_normalized, layer)
    ranks.barrier()
    if last is not None:
        rounds.remove(last)


def _blocks(node: Tensor, sides: Sequence[tuple[CSR, Tensor]]) -> Iterator[Tensor]:
    """Nodes [n] in blocks. At most `EDGES` edges lead to those of a block, or it is one node."""
    for part in node.split(BLOCK):
        total = torch.stack([csr.ptr[part + 1] - csr.ptr[part] for csr, _ in sides]).sum(0).cumsum(0)
        first = 0
        while first < len(part):
            before = int(total[first - 1]) if first else 0
            stop = max(first + 1, int(torch.searchsorted(total, before + EDGES, right=True)))
            yield part[first:stop]
            first = stop


def _sums(found: Tensor, node: Tensor, sides: Sequence[tuple[CSR, Tensor]], read: Read) -> Tensor:
    """The sums of the neighbors' vectors of nodes [n], weighted by attention, added to `found`, [n, D]. sides: see
    `KGEncoder.shares`."""
    for csr, share in sides:
        begin, degree = csr.ptr[node], csr.ptr[node + 1] - csr.ptr[node]
        row = torch.arange(len(node), device=node.device).repeat_interleave(degree)
        place = torch.arange(len(row), device=node.device) + (begin - degree.cumsum(0) + degree)[row]
        for into, at in zip(row.split(EDGES), place.split(EDGES)):
            distinct, of_edge = torch.unique(csr.other[at].long(), return_inverse=True)
            found.index_add_(0, into, read(distinct).index_select(0, of_edge) * share[at].unsqueeze(1))
    return found


def _normalized(layer: RowShard, node: Tensor) -> Tensor:
    return functional.normalize(layer.vectors(node), dim=-1)
