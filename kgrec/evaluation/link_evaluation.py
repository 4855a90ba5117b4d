"""Link prediction measured: how high a model ranks held-out facts among all that could be in their place."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import parse
from kgrec.evaluation.ranking import scoring
from kgrec.graph import Graph
from kgrec.graph.schema import EdgeType
from kgrec.nn import LinkScorer


@dataclass(frozen=True, eq=False)
class LinkEvaluation:
    """What came out: means over held-out facts, and the ranks that they are means of."""

    metrics: dict[str, float]  #: by name, as asked
    ranks: pa.Table  #: one row a fact and direction: `head`, `relation`, `tail` (external ids; a relation read
    #: backwards is `rev_<name>`), `head_type`, `tail_type`, `rank` (float64, from 1) and `candidates`, how many tails
    #: were ranked; where it is known what the model was trained on also `unseen`, whether the head or the tail has no
    #: edge there
    seconds: float
    #: the same means over the facts both of whose ends have an edge in training; empty where there are none, or where
    #: it is not known what the model was trained on
    seen_ends: dict[str, float] = field(default_factory=dict)
    unseen_ends: dict[str, float] = field(default_factory=dict)  #: over those of which an end has none

    @property
    def num_facts(self) -> int:
        """Facts that the means are over, each direction for itself."""
        return len(self.ranks)

    @property
    def num_unseen_ends(self) -> int | None:
        """Those of which an end has no edge in training; None where it is not known what the model was trained on."""
        return pc.sum(self.ranks["unseen"]).as_py() if "unseen" in self.ranks.column_names else None


def check_link_metrics(model: LinkScorer, metrics: Sequence[str]) -> None:
    """Raise KgrecError for metrics that are not of held-out facts, UnknownName for those that are not there."""
    others = [name for name in metrics if parse(name).of != "facts"]
    if others:
        raise KgrecError(
            f"{', '.join(others)} measure what users are shown, and {type(model).__name__} was trained for task 'link' "
            "with facts held out; ask for mrr and hits@10, or train it for task 'ranking'"
        )


def evaluate_links(
    model: LinkScorer,
    known: Graph,
    held: Graph,
    *,
    metrics: Sequence[str],
    trained: Graph | None = None,
    cells: int = 4_194_304,
) -> LinkEvaluation:
    """The filtered ranks of held-out facts, both ways: of tails by their relation, of heads by its inverse.

    known: all edges, those held out among them. held: the facts to be ranked; each counts once, however often it is
    stated. metrics: `mrr`, and `hits@k`. trained: the edges that the model learned from; with them the facts of which
    an end has no edge there, of which it can know nothing, are also measured apart from the others. cells: most scores
    held at once.

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
    place = next(itertools.chain(model.parameters(), model.buffers()), held.edge_index).device
    known, held = known.to(place).both_ways(), held.to(place).both_ways()
    degree = None if trained is None else _degree(trained).to(place)
    with scoring(model):
        parts = [_ranked(model, known, held, edge, degree, cells) for edge in _relations(held)]
    ranks = pa.concat_tables(parts).unify_dictionaries()
    found = LinkEvaluation(_means(ranks, metrics), ranks, 0.0)
    if degree is not None:
        unseen = ranks["unseen"]
        seen, others = (_means(ranks.filter(one), metrics) for one in (pc.invert(unseen), unseen))
        found = replace(found, seen_ends=seen, unseen_ends=others)
    return replace(found, seconds=time.perf_counter() - begun)


def _means(ranks: pa.Table, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics over these ranks; nothing where there are none."""
    if not len(ranks):
        return {}
    rank = torch.from_numpy(ranks["rank"].to_numpy())
    return {metric.name: float(metric.formula.value(rank, metric.k).mean()) for metric in map(parse, metrics)}


def _degree(graph: Graph) -> Tensor:
    """How many edges each node has, as head or as tail: LongTensor [N]."""
    return torch.bincount(torch.cat([graph.head, graph.tail]), minlength=graph.num_nodes)


def _relations(held: Graph) -> list[EdgeType]:
    """The edge types that have held-out facts."""
    sizes = torch.tensor(held.relation_ptr).diff().tolist()
    return [edge for edge, size in zip(held.edge_types, sizes) if size]


def _ranked(
    model: LinkScorer, known: Graph, held: Graph, edge_type: EdgeType, degree: Tensor | None, cells: int
) -> pa.Table:
    """The rows of one relation's facts. degree: LongTensor [N], edges of each node in training."""
    number = held.edge_types.index(edge_type)
    facts = held.only(edge_type)
    head, tail = torch.unique(torch.stack([facts.head, facts.tail]), dim=1)
    source, name, target = edge_type
    others, tails = _Known(known.only(edge_type)), known.nodes(target)
    ranks = _ranks if model.reads_head else _ranks_of_one_list
    found = [
        ranks(model, others, head[rows], number, tail[rows], tails)
        for rows in torch.arange(len(head), device=head.device).split(max(1, cells // len(tails)))
    ]
    rank, count = (torch.cat(part).cpu().numpy() for part in zip(*found))
    alike = [
        pa.DictionaryArray.from_arrays(pa.array([0] * len(head), pa.int32()), [word]) for word in (name, source, target)
    ]
    columns = {"head": _ids(held, source, head), "relation": alike[0], "tail": _ids(held, target, tail)}
    columns |= {"head_type": alike[1], "tail_type": alike[2], "rank": rank, "candidates": count}
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
        """All known tails of heads [B], flat, and the row of the head that each is of: LongTensor [n] each."""
        size = self.csr.degree()[head]
        row = torch.arange(len(head), device=head.device).repeat_interleave(size)
        place = torch.arange(len(row), device=head.device) - (size.cumsum(0) - size)[row]
        return self.csr.other[self.csr.ptr[head][row] + place].long(), row


def _ranks(
    model: LinkScorer, known: _Known, head: Tensor, relation: int, tail: Tensor, tails: Tensor
) -> tuple[Tensor, Tensor]:
    """The ranks of facts, DoubleTensor [B], and how many candidates each had, LongTensor [B]. tails: the nodes of the
    tails' type, LongTensor [C], consecutive."""
    scores = _scores(model, head, relation, tails)
    true = scores.gather(1, (tail - tails[0]).unsqueeze(1))
    others, row = known.tails(head)
    scores[row, others - tails[0]] = -torch.inf  # those of which the fact is known, and the true one itself
    before, level = (scores > true).sum(1), (scores == true).sum(1)
    return 1 + before + level.double() / 2, 1 + scores.isfinite().sum(1)


def _ranks_of_one_list(
    model: LinkScorer, known: _Known, head: Tensor, relation: int, tail: Tensor, tails: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where all heads of a relation have the same scores: those are sorted once, and what is known of each
    head is taken from its fact's place among them."""
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
    """Scores of all tails for each head, as our own copy, since a model may return a view of its buffers: [B, C]."""
    scores = model.catalog_scores(head, relation, tails)
    if not scores.isfinite().all():
        raise KgrecError(
            f"{type(model).__name__} gave scores that are not finite; its training may have diverged: try a lower lr"
        )
    return scores.clone()
