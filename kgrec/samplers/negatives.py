"""Negatives: tails that are sampled to be compared with the true tail."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.memory import must_fit
from kgrec.samplers.batch import Batch

NUMBERS = 20  #: bytes of a negative: its node, its log-probability, and whether it is a known edge


class Negatives:
    """Stage: samples `count` nodes of the tail's type for each true tail, with their log-probabilities.

    alpha: 0 samples uniformly, otherwise in proportion to (number of edges into the node in `graph`) ** alpha; 1 is the
    distribution of in-batch negatives, .75 that of word2vec. shared: one sample [count] serves the whole batch.

    reject: a graph whose edges are not sampled: no tail that the head has an edge to, by any relation. If it has the
    same several relations as `graph` and the batch names each example's relation, only edges of that relation are
    rejected (filtered negatives, Bordes et al. 2013, sec. 4.1). A rejected draw is drawn again, up to `rounds` times;
    so a head with edges to all nodes keeps its last draw.

    Withheld nodes (cold items of a split) are never sampled. If the graph's target joins nodes of one type, the head
    itself is never sampled either; with `shared` the loss must leave it out.

    Raises KgrecError for settings that do not go together.
    """

    def __init__(
        self,
        graph: Graph,
        count: int = 1,
        *,
        alpha: float = 0.0,
        shared: bool = False,
        reject: Graph | None = None,
        rounds: int = 20,
    ) -> None:
        if count < 1:
            raise KgrecError(f"negatives: count is {count}; 1 or more is wanted")
        if shared and reject is not None:
            raise KgrecError(
                "negatives that a whole batch shares cannot be rejected for single heads; leave out reject or shared"
            )
        self.count, self.shared, self.reject, self.rounds = count, shared, reject, rounds
        self.device, self.by_example = graph.device, not shared
        self.not_own = graph.same_ends and not shared  #: whether a head is never its own negative
        self.by_triple = reject is not None and len(graph.edge_types) > 1 and reject.edge_types == graph.edge_types
        tail_types = dict.fromkeys(edge[2] for edge in graph.edge_types)
        starts = sorted(graph.range(name).start for name in tail_types)
        self.one_type = graph.range(next(iter(tail_types))) if len(tail_types) == 1 else None
        ranges = sorted(graph.ranges.values(), key=lambda r: r.start)
        if shared and self.one_type is None:
            raise KgrecError(
                f"shared negatives need tails of one node type, but this graph has {len(starts)}; leave out shared"
            )
        self.starts = torch.tensor([r.start for r in ranges], device=self.device)
        self.stops = torch.tensor([r.stop for r in ranges], device=self.device)
        self.cumulative = None if alpha == 0 and graph.withheld is None else _cumulative(graph, alpha)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        shape = (self.count,) if self.shared else (*batch.tail.shape, self.count)
        low, high = self._bounds(batch.tail)
        must_fit(prod(shape) * NUMBERS, f"{self.count:,} negatives for each of {len(batch.head):,} examples")
        own = batch.head.view(-1, *[1] * (len(shape) - 1)).expand(shape) if self.not_own else None
        negative = self._draw(shape, low, high, generator, own)
        if self.reject is not None:
            negative = self._redraw_known(batch, negative, low, high, generator)
        return replace(batch, negative=negative, log_q=self.log_probability(negative, low, high, own))

    def _bounds(self, tail: Tensor) -> tuple[Tensor | int, Tensor | int]:
        """The flat range of each tail's node type, start and stop: two numbers, or two LongTensors [*S, 1]."""
        if self.one_type is not None:
            return self.one_type.start, self.one_type.stop
        kind = torch.searchsorted(self.starts, tail.clamp(max=int(self.stops[-1]) - 1), right=True) - 1
        return self.starts[kind].unsqueeze(-1), self.stops[kind].unsqueeze(-1)

    def _draw(
        self,
        shape: tuple[int, ...],
        low: Tensor | int,
        high: Tensor | int,
        generator: torch.Generator,
        own: Tensor | None = None,
    ) -> Tensor:
        """Draws nodes in proportion to their weights. own: LongTensor of this shape, for each draw one node that may
        not be drawn."""
        if own is not None:
            return self._draw_others(own, low, high, generator)
        if self.cumulative is None and isinstance(low, int) and isinstance(high, int):
            return torch.randint(low, high, shape, generator=generator, device=self.device)
        uniform = torch.rand(shape, generator=generator, device=self.device, dtype=torch.float64)
        if self.cumulative is None:
            return (low + uniform * (high - low)).long()
        first, last = self.cumulative[low], self.cumulative[high]
        point = first + uniform * (last - first)
        return torch.searchsorted(self.cumulative, point, right=True) - 1

    def _draw_others(self, own: Tensor, low: Tensor | int, high: Tensor | int, generator: torch.Generator) -> Tensor:
        """Draws nodes other than `own`, in proportion to their weights."""
        uniform = torch.rand(own.shape, generator=generator, device=self.device, dtype=torch.float64)
        weight = self._own_weight(own, low, high)
        if self.cumulative is None:
            place = (low + uniform * (high - low - weight)).long()
            return torch.where((weight > 0) & (place >= own), place + 1, place)
        first, last = self.cumulative[low], self.cumulative[high]
        point = first + uniform * (last - first - weight)
        behind = torch.maximum(point + weight, self.cumulative[own + 1])
        point = torch.where((weight > 0) & (point >= self.cumulative[own]), behind, point)
        return torch.searchsorted(self.cumulative, point, right=True) - 1

    def _own_weight(self, own: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
        """The weight of each of these nodes within its range: DoubleTensor like `own`. It is 0 for a node outside the
        range, and for the only node with a weight, which cannot be left out."""
        if self.cumulative is None:
            weight, total = torch.ones_like(own, dtype=torch.float64), high - low
        else:
            weight = self.cumulative[own + 1] - self.cumulative[own]
            total = self.cumulative[high] - self.cumulative[low]
        return weight * ((own >= low) & (own < high) & (weight < total))

    def _redraw_known(
        self, batch: Batch, negative: Tensor, low: Tensor | int, high: Tensor | int, generator: torch.Generator
    ) -> Tensor:
        head, relation = batch.head, batch.relation
        flat = negative.reshape(len(head), -1)
        bounds = [
            bound if isinstance(bound, int) else bound.expand_as(negative).reshape(len(head), -1)
            for bound in (low, high)
        ]
        own = head.unsqueeze(1).expand_as(flat) if self.not_own else None
        known = self._is_known(head, relation, flat)
        for _ in range(self.rounds):
            row, column = known.nonzero(as_tuple=True)
            if not len(row):
                break
            first, last = (b if isinstance(b, int) else b[row, column] for b in bounds)
            again = self._draw((len(row),), first, last, generator, None if own is None else own[row, column])
            flat[row, column] = again
            known = torch.zeros_like(known)
            of_row = None if relation is None else relation[row]
            known[row, column] = self._is_known(head[row], of_row, again.unsqueeze(1)).squeeze(1)
        return flat.reshape(negative.shape)

    def _is_known(self, head: Tensor, relation: Tensor | None, tail: Tensor) -> Tensor:
        """Whether each of the tails [n, K] must not be drawn for its head. BoolTensor [n, K]."""
        assert self.reject is not None
        if relation is None or not self.by_triple:
            return self.reject.is_edge(head, tail)
        return self.reject.is_triple(head, relation, tail)

    def log_probability(self, node: Tensor, low: Tensor | int, high: Tensor | int, own: Tensor | None = None) -> Tensor:
        """The log-probability of each drawn node, before rejection: FloatTensor like `node`. own: the nodes that were
        left out."""
        if self.cumulative is None:
            size = torch.as_tensor(high - low, dtype=torch.float32, device=self.device)
            if own is not None:
                size = size - self._own_weight(own, low, high).float()
            return (-size.log()).expand(node.shape)
        total = self.cumulative[high] - self.cumulative[low]
        if own is not None:
            total = total - self._own_weight(own, low, high)
        share = (self.cumulative[node + 1] - self.cumulative[node]) / total
        return share.log().float()


def _cumulative(graph: Graph, alpha: float) -> Tensor:
    """For each node the sum of the weights of all nodes before it: float64 [N + 1]."""
    weight = torch.ones(graph.num_nodes, dtype=torch.float64, device=graph.device)
    if alpha != 0:
        weight = graph.index.num_in.double() ** alpha
    if graph.withheld is not None:
        weight[graph.withheld] = 0.0
    if not weight.sum().isfinite():
        raise KgrecError(
            f"negatives: alpha is {alpha:g}, so popularity ** alpha is too large for a number; use 1 or less"
        )
    return torch.cat([weight.new_zeros(1), weight.cumsum(0)])
