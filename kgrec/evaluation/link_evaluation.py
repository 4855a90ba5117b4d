"""Evaluation of link prediction: how high a model ranks held-out facts among all possible facts in their place."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec import ranks
from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import parse
from kgrec.evaluation.ranking import scoring
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.nn import LinkScorer
from kgrec.nn.row_shards import BLOCK, shards_of
from kgrec.progress import Task, working


@dataclass(frozen=True, eq=False)
class LinkEvaluation:
    """The result of link prediction: means over held-out facts, and the rank of each fact."""

    metrics: dict[str, float]  #: mean by metric name, in the order of the request
    #: one row for each fact and direction: `head`, `relation`, `tail` (external ids; the inverse of a relation is
    #: `rev_<name>`), `head_type`, `tail_type`, `rank` (float64, from 1) and `candidates`, the number of ranked tails;
    #: if the training graph is known also `unseen`: whether the head or the tail has no edge in it
    ranks: pa.Table
    seconds: float  #: how long the evaluation took
    #: means over the facts whose head and tail both have an edge in training; empty if there are none, or if the
    #: training graph is not known
    seen_ends: dict[str, float] = field(default_factory=dict)
    #: means over the facts whose head or tail has no edge in training
    unseen_ends: dict[str, float] = field(default_factory=dict)

    @property
    def num_facts(self) -> int:
        """Number of facts that the means are over; each direction counts separately."""
        return len(self.ranks)

    @property
    def num_unseen_ends(self) -> int | None:
        """Number of facts whose head or tail has no edge in training; None if the training graph is not known."""
        return pc.sum(self.ranks["unseen"]).as_py() if "unseen" in self.ranks.column_names else None


def check_link_metrics(model: LinkScorer, metrics: Sequence[str]) -> None:
    """Raise KgrecError for metrics that cannot measure held-out facts, UnknownName for unknown metrics."""
    others = [name for name in metrics if parse(name).of != "facts"]
    if others:
        raise KgrecError(
            f"{', '.join(others)} can only measure recommendations, but {type(model).__name__} was trained for task "
            "'link' with facts held out; use mrr and hits@10, or train it for task 'ranking'"
        )


def evaluate_links(
    model: LinkScorer,
    known: Graph,
    held: Graph,
    *,
    metrics: Sequence[str],
    trained: Graph | None = None,
    cells: int = 4_194_304,
    shared: bool = False,
) -> LinkEvaluation:
    """The filtered ranks of held-out facts in both directions: tails by their relation, heads by its inverse.

    known: all edges, with the held-out ones. held: the facts to be ranked; each counts once, even if it is there twice.
    metrics: `mrr` and `hits@k`. trained: the edges that the model was trained on; with them, facts whose head or tail
    has no edge in training are also measured separately, as the model can know nothing about such a node. cells:
    maximum number of scores in memory at once. shared: the ranks of a training, which all call this, divide the
    batches.

    Candidates are all nodes of the tail's type, except other tails whose fact is known too (filtered, Bordes et al.
    2013, sec. 4.1). Ties share the mean of their ranks (`realistic`, Berrendorf et al. 2020), so a constant scorer is
    as good as chance.

    Raises KgrecError if the graphs differ in nodes or relations, if nothing is held out, if a score is not finite, and
    for the same reasons as `check_link_metrics`.
    """
    begun = time.perf_counter()
    check_link_metrics(model, metrics)
    if known.num_nodes != held.num_nodes or known.edge_types != held.edge_types:
        raise KgrecError("the held-out facts are from another graph than the known edges; take both from one graph")
    if not held.num_edges:
        raise KgrecError("no fact is held out, so there is nothing to measure; use a split that holds out facts")
    place = next(itertools.chain(model.parameters(), model.buffers()), held.edge_index).device
    known, held = known.to(place).both_ways(), held.to(place).both_ways()
    degree = None if trained is None else _degree(trained).to(place)
    number = held.num_edges / (ranks.world() if shared else 1)
    with scoring(model), working(Task("ranking", number, "facts")) as task:
        parts = [_ranked(model, known, held, edge, degree, cells, shared, task) for edge in _relations(held)]
    table = pa.concat_tables(parts).unify_dictionaries()
    found = LinkEvaluation(_means(table, metrics), table, 0.0)
    if degree is not None:
        unseen = table["unseen"]
        seen, others = (_means(table.filter(one), metrics) for one in (pc.invert(unseen), unseen))
        found = replace(found, seen_ends=seen, unseen_ends=others)
    return replace(found, seconds=time.perf_counter() - begun)


def _means(table: pa.Table, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics over a table of ranks; empty if there are none."""
    if not len(table):
        return {}
    rank = torch.from_numpy(table["rank"].to_numpy())
    return {metric.name: float(metric.formula.value(rank, metric.k).mean()) for metric in map(parse, metrics)}


def _degree(graph: Graph) -> Tensor:
    """Number of edges of each node, as head or as tail: LongTensor [N]."""
    return torch.bincount(torch.cat([graph.head, graph.tail]), minlength=graph.num_nodes)


def _relations(held: Graph) -> list[EdgeType]:
    """The edge types that have held-out facts."""
    sizes = torch.tensor(held.relation_ptr).diff().tolist()
    return [edge for edge, size in zip(held.edge_types, sizes) if size]


def _ranked(
    model: LinkScorer,
    known: Graph,
    held: Graph,
    edge_type: EdgeType,
    degree: Tensor | None,
    cells: int,
    shared: bool,
    task: Task,
) -> pa.Table:
    """The rows of one relation's facts. degree: LongTensor [N], number of training edges of each node; task: in which
    the facts are counted."""
    number = held.edge_types.index(edge_type)
    facts = held.only(edge_type)
    head, tail = torch.unique(torch.stack([facts.head, facts.tail]), dim=1)
    source, name, target = edge_type
    others, tails = _Known(known.only(edge_type)), known.nodes(target)
    ranks_of = _ranks if model.reads_head else _ranks_of_one_list
    rank = torch.zeros(len(head), dtype=torch.double, device=head.device)
    count = torch.zeros(len(head), dtype=torch.long, device=head.device)
    batches = torch.arange(len(head), device=head.device).split(max(1, cells // len(tails)))
    for rows in ranks.share(batches, divided=shared):
        rank[rows], count[rows] = ranks_of(model, others, head[rows], number, tail[rows], tails)
        task.advance(len(rows))
    if shared:  # all others have zeros there
        rank, count = ranks.add(rank), ranks.add(count)
    alike = [
        pa.DictionaryArray.from_arrays(pa.array([0] * len(head), pa.int32()), [word]) for word in (name, source, target)
    ]
    columns = {"head": _ids(held, source, head), "relation": alike[0], "tail": _ids(held, target, tail)}
    columns |= {
        "head_type": alike[1],
        "tail_type": alike[2],
        "rank": rank.cpu().numpy(),
        "candidates": count.cpu().numpy(),
    }
    if degree is not None:
        columns["unseen"] = ((degree[head] == 0) | (degree[tail] == 0)).cpu().numpy()
    return pa.table(columns)


def _ids(graph: Graph, node_type: str, node: Tensor) -> pa.Array:
    """External ids of flat nodes of a type, strings [n]."""
    local = node.cpu() - graph.range(node_type).start
    return graph.vocabulary[node_type].id_array.take(pa.array(local.numpy()))


class _Known:
    """The known tails of one relation's heads."""

    def __init__(self, facts: Graph) -> None:
        self.csr = facts.csr

    def tails(self, head: Tensor) -> tuple[Tensor, Tensor]:
        """All known tails of heads [B], as flat numbers, and the row of each tail's head: LongTensor [n] each."""
        size = self.csr.degree()[head]
        row = torch.arange(len(head), device=head.device).repeat_interleave(size)
        place = torch.arange(len(row), device=head.device) - (size.cumsum(0) - size)[row]
        return self.csr.other[self.csr.ptr[head][row] + place].long(), row


def _ranks(
    model: LinkScorer, known: _Known, head: Tensor, relation: int, tail: Tensor, tails: Tensor
) -> tuple[Tensor, Tensor]:
    """The ranks of facts, DoubleTensor [B], and the number of candidates of each, LongTensor [B]. tails: the nodes of
    the tails' type, LongTensor [C], consecutive."""
    scores = _scores(model, head, relation, tails)
    true = scores.gather(1, (tail - tails[0]).unsqueeze(1))
    others, row = known.tails(head)
    scores[row, others - tails[0]] = -torch.inf  # all tails whose fact is known, the true one among them
    before, level = (scores > true).sum(1), (scores == true).sum(1)
    return 1 + before + level.double() / 2, 1 + scores.isfinite().sum(1)


def _ranks_of_one_list(
    model: LinkScorer, known: _Known, head: Tensor, relation: int, tail: Tensor, tails: Tensor
) -> tuple[Tensor, Tensor]:
    """The same as `_ranks` for a model that scores alike for all heads of a relation. The scores are sorted once; then
    the known tails of each head are subtracted from the rank of its fact."""
    scores = _scores(model, head[:1], relation, tails)[0]
    rising, true = scores.sort().values, scores[tail - tails[0]]
    others, row = known.tails(head)
    other = scores[others - tails[0]]
    pair, place = torch.unique(row * len(tails) + others - tails[0], return_inverse=True)  # each known tail once
    first = torch.zeros_like(pair, dtype=scores.dtype).scatter_(0, place, other)
    row = pair // len(tails)

    def counted(which: Tensor) -> Tensor:
        return torch.bincount(row[which], minlength=len(head))

    up_to, below = (torch.searchsorted(rising, true, right=right) for right in (True, False))
    before = len(tails) - up_to - counted(first > true[row])
    level = up_to - below - counted(first == true[row])
    return 1 + before + level.double() / 2, 1 + len(tails) - torch.bincount(row, minlength=len(head))


def _scores(model: LinkScorer, head: Tensor, relation: int, tails: Tensor) -> Tensor:
    """Scores of all tails for each head, [B, C]. They are a copy, since a model may return a view of its buffers."""
    scores = torch.cat([model.catalog_scores(head, relation, part) for part in _blocks(model, tails)], -1)
    if not scores.isfinite().all():
        raise KgrecError(
            f"{type(model).__name__} gave scores that are not finite; training may have diverged, so try a lower lr"
        )
    return scores


def _blocks(model: LinkScorer, tails: Tensor) -> Sequence[Tensor]:
    """Tails [C] in parts that are scored one after another: all at once, or some at a time where their vectors are
    kept by several processes, so that none has them all."""
    return tails.split(BLOCK) if shards_of(model) else [tails]
