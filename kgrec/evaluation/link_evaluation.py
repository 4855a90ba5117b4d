"""Link prediction measured: how high a model ranks held-out facts among all that could be in their place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import parse
from kgrec.evaluation.ranking import scoring
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.nn import LinkModel


@dataclass(frozen=True, eq=False)
class LinkEvaluation:
    """What came out: means over held-out facts, and the ranks that they are means of."""

    metrics: dict[str, float]  #: by name, as asked
    ranks: pa.Table  #: one row a fact and direction: `head`, `relation`, `tail` (external ids; a relation read
    #: backwards is `rev_<name>`), `head_type`, `tail_type`, `rank` (float64, from 1) and `candidates`, how many tails
    #: were ranked
    seconds: float

    @property
    def num_facts(self) -> int:
        """Facts that the means are over, each direction for itself."""
        return len(self.ranks)


def check_link_metrics(model: LinkModel, metrics: Sequence[str]) -> None:
    """Raise KgrecError for metrics that are not of held-out facts, UnknownName for those that are not there."""
    others = [name for name in metrics if parse(name).of != "facts"]
    if others:
        raise KgrecError(
            f"{', '.join(others)} measure what users are shown, and {type(model).__name__} was trained for task 'link' "
            "with facts held out; ask for mrr and hits@10, or train it for task 'ranking'"
        )


def evaluate_links(
    model: LinkModel, known: Graph, held: Graph, *, metrics: Sequence[str], cells: int = 4_194_304
) -> LinkEvaluation:
    """The filtered ranks of held-out facts, both ways: of tails by their relation, of heads by its inverse.

    known: all edges, those held out among them. held: the facts to be ranked; each counts once, however often it is
    stated. metrics: `mrr`, and `hits@k`. cells: most scores held at once.

    Candidates are all nodes of the tail's type, less those of which the fact is known too (filtered, Bordes et al.
    2013, sec. 4.1). Equal scores share the mean of their ranks (`realistic`, Berrendorf et al. 2020), so that a model
    that scores all alike is at chance.

    Raises KgrecError where the graphs differ in nodes or relations, nothing is held out, a score is not finite, and as
    `check_link_metrics`.
    """
    begun = time.perf_counter()
    check_link_metrics(model, metrics)
    if known.num_nodes != held.num_nodes or known.edge_types != held.edge_types:
        raise KgrecError("held-out facts are of another graph than what is known; pass views of one graph")
    if not held.num_edges:
        raise KgrecError("no fact is held out; there is nothing to measure")
    place = next(model.parameters(), held.edge_index).device
    known, held = known.to(place).both_ways(), held.to(place).both_ways()
    with scoring(model):
        parts = [_ranked(model, known, held, edge, cells) for edge in _relations(held)]
    ranks = pa.concat_tables(parts).unify_dictionaries()
    rank = torch.from_numpy(ranks["rank"].to_numpy())
    values = {metric.name: float(metric.formula.value(rank, metric.k).mean()) for metric in map(parse, metrics)}
    return LinkEvaluation(values, ranks, time.perf_counter() - begun)


def _relations(held: Graph) -> list[EdgeType]:
    """The edge types that have held-out facts."""
    sizes = torch.tensor(held.relation_ptr).diff().tolist()
    return [edge for edge, size in zip(held.edge_types, sizes) if size]


def _ranked(model: LinkModel, known: Graph, held: Graph, edge_type: EdgeType, cells: int) -> pa.Table:
    """The rows of one relation's facts."""
    number = held.edge_types.index(edge_type)
    facts = held.only(edge_type)
    head, tail = torch.unique(torch.stack([facts.head, facts.tail]), dim=1)
    source, name, target = edge_type
    others, tails = _Known(known.only(edge_type)), known.nodes(target)
    found = [
        _ranks(model, others, head[rows], number, tail[rows], tails)
        for rows in torch.arange(len(head), device=head.device).split(max(1, cells // len(tails)))
    ]
    rank, count = (torch.cat(part).cpu().numpy() for part in zip(*found))
    alike = [
        pa.DictionaryArray.from_arrays(pa.array([0] * len(head), pa.int32()), [word]) for word in (name, source, target)
    ]
    columns = {"head": _ids(held, source, head), "relation": alike[0], "tail": _ids(held, target, tail)}
    return pa.table({**columns, "head_type": alike[1], "tail_type": alike[2], "rank": rank, "candidates": count})


def _ids(graph: Graph, node_type: str, node: Tensor) -> pa.Array:
    """External ids of flat nodes of a type, strings [n]."""
    local = node.cpu() - graph.range(node_type).start
    return graph.vocabulary[node_type].id_array.take(pa.array(local.numpy()))


class _Known:
    """The known tails of one relation's heads."""

    def __init__(self, facts: Graph) -> None:
        self.csr = facts.csr

    def tails(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """All known tails of heads [B], flat, and the row of the head that each is of: LongTensor [n] each."""
        size = self.csr.degree()[head]
        row = torch.arange(len(head), device=head.device).repeat_interleave(size)
        place = torch.arange(len(row), device=head.device) - (size.cumsum(0) - size)[row]
        return self.csr.other[self.csr.ptr[head][row] + place].long(), row


def _ranks(
    model: LinkModel, known: _Known, head: Tensor, relation: int, tail: Tensor, tails: Tensor
) -> tuple[Tensor, Tensor]:
    """The ranks of facts, DoubleTensor [B], and how many candidates each had, LongTensor [B]. tails: the nodes of the
    tails' type, LongTensor [C], consecutive."""
    scores = model.catalog_scores(head, relation, tails)
    if not scores.isfinite().all():
        raise KgrecError(
            f"{type(model).__name__} gave scores that are not finite; its training may have diverged: try a lower lr"
        )
    true = scores.gather(1, (tail - tails[0]).unsqueeze(1))
    others, row = known.tails(head)
    scores[row, others - tails[0]] = -torch.inf  # those of which the fact is known, and the true one itself
    before, level = (scores > true).sum(1), (scores == true).sum(1)
    return 1 + before + level.double() / 2, 1 + scores.isfinite().sum(1)
