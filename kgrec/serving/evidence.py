"""What of a user's past is behind a list: past items with how much each counts, and by what that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.evaluation.ranking import Scorer
from kgrec.graph import NO_TIME
from kgrec.model import Query, ScorerParts
from kgrec.nn.next_item import NextItem
from kgrec.serving.evidence_kinds import Kind

NAMED = 3  #: past items that a sentence names
LEAST = 1e-9  #: of a list's mean score, to which a fall is set in proportion
ALPHA = 0.15  #: weight of every item's pull to 0 in a fit, where a past item's pull to 1 weighs 1 (the default of ials)
RIDGE = 0.01  #: weight of a fitted vector's squares, in proportion to the mean of the diagonal


@dataclass(frozen=True, eq=False)
class PastItems:
    """The past items behind some lists, those that count at all: by list, and in it from the one that counts most."""

    kind: Kind
    row: Tensor  #: LongTensor [n], of which list, rising
    item: Tensor  #: LongTensor [n], flat
    strength: Tensor  #: FloatTensor [n], by `kind`, above 0


def kind_of(scorer: Scorer) -> Kind:
    """By what it can be known of a model which past items are behind its lists."""
    model = scorer.model
    parts = model.linear_scorer()
    if parts is not None and parts.kind == "constant":
        return Kind.NOTHING
    if model.reads_history:
        nobody = torch.empty(0, dtype=torch.long, device=scorer.device)
        return Kind.WITHOUT if model.attention(Query(nobody, nobody.view(0, 0))) is None else Kind.ATTENTION
    if parts is not None and parts.kind == "dot":
        return Kind.FITTED
    return Kind.NOTHING if model.node_vectors(scorer.known.target[2]) is None else Kind.COSINE


def past_items(scorer: Scorer, kind: Kind, query: Query, items: Tensor, had: Tensor) -> PastItems:
    """The past items behind lists, of the kind that `kind_of` gives. The model is in eval mode, without gradients.

    query: the users of the lists; items: LongTensor [B, K], the lists, flat, filled up with the graph's pad; had:
    LongTensor [B, L], what the users had by the target relation, flat, with pads before it."""
    match kind:
        case Kind.ATTENTION:
            strength = scorer.model.attention(query)
            assert strength is not None
            return _falling(kind, query.history, strength)
        case Kind.WITHOUT:
            return _falling(kind, query.history, _falls(scorer, query, items))
        case Kind.FITTED:
            return _falling(kind, had, _fitted_falls(scorer, had, items))
        case Kind.COSINE:
            had = query.history if query.history.shape[1] else scorer.had.last(query.user.clamp(max=scorer.pad))
            return _falling(kind, had, _cosines(scorer, had, items))
        case Kind.NOTHING:
            return PastItems(kind, query.user[:0], query.user[:0], torch.empty(0, device=scorer.device))


def _falling(kind: Kind, history: Tensor, strength: Tensor) -> PastItems:
    """The steps that count, the strongest of each list first. history, strength: [B, L]."""
    strength, order = strength.float().sort(dim=1, descending=True, stable=True)
    there = strength > 0
    return PastItems(kind, there.nonzero()[:, 0], history.gather(1, order)[there], strength[there])


# ---------------------------------------------------------------------- the fall without an item


def _falls(scorer: Scorer, query: Query, items: Tensor) -> Tensor:
    """By what share of itself a list's mean score falls where the history lacks an item: FloatTensor [B, L], at the
    item's first step, and 0 elsewhere."""
    parts, there = scorer.model.linear_scorer(), items != scorer.pad
    steps = _is_first(query.history) & _is_read(scorer, query) & there.any(1, keepdim=True)
    row, place = steps.nonzero(as_tuple=True)
    filled = torch.where(there, items, items[:, :1])  # for models that know no pad
    mean = torch.zeros(len(query), device=scorer.device)
    for part in there.any(1).nonzero().squeeze(1).split(_size(scorer)):
        mean[part] = _mean(scorer.scores(query.rows(part), filled[part]), there[part])
    found = torch.zeros(query.history.shape, device=scorer.device)
    by_weights = _by_weights(scorer, parts)
    for part in torch.arange(len(row), device=scorer.device).split(_size(scorer)):
        rows, item = row[part], query.history[row[part], place[part]]
        if by_weights is not None:
            fall = _mean(by_weights(item, filled[rows]), there[rows])
        else:
            others = without(query.rows(rows), item, scorer.pad)
            fall = mean[rows] - _mean(scorer.scores(others, filled[rows]), there[rows])
        found[rows, place[part]] = fall / mean[rows].abs().clamp(min=LEAST)
    return found


def without(query: Query, item: Tensor, pad: int) -> Query:
    """The same users as if each had never had an item. item: LongTensor [B], flat; pad: the graph's."""
    kept = query.history != item.unsqueeze(1)
    order = (kept & (query.history != pad)).long().argsort(dim=1, stable=True)  # what is dropped goes to the pads
    kept = kept.gather(1, order)

    def at(values: Tensor | None, otherwise: int) -> Tensor | None:
        return None if values is None else torch.where(kept, values.gather(1, order), otherwise)

    history = at(query.history, pad)
    assert history is not None
    time, weight, behaviour = at(query.time, NO_TIME), at(query.weight, 0), at(query.behaviour, -1)
    return replace(query, history=history, time=time, weight=weight, behaviour=behaviour)


def _by_weights(scorer: Scorer, parts: ScorerParts | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Where scores are sums over a history's items, what an item adds to those of a list: items [n] and lists [n, K] ->
    [n, K]; None where they are not."""
    first = scorer.known.range(scorer.known.target[2]).start
    if parts is not None and parts.kind == "history_times_weights":
        weight = parts.tensors["weight"]
        return lambda item, items: weight[(item - first).unsqueeze(1), items - first]
    if parts is not None and parts.kind == "history_neighbors":
        neighbor, similarity = parts.tensors["neighbor"], parts.tensors["similarity"]

        def of_neighbors(item: Tensor, items: Tensor) -> Tensor:
            is_item = neighbor[items - first] == (item - first)[:, None, None]
            return (similarity[items - first] * is_item).sum(2)

        return of_neighbors
    return None


def _is_first(history: Tensor) -> Tensor:
    """Of which steps the item stands at no earlier one: BoolTensor [B, L]."""
    item, order = history.sort(dim=1, stable=True)
    again = functional.pad(item[:, 1:] == item[:, :-1], (1, 0))
    return torch.ones_like(again).scatter(1, order, ~again)


def _is_read(scorer: Scorer, query: Query) -> Tensor:
    """Which steps are read: BoolTensor [B, L]."""
    there = query.history != scorer.pad
    if isinstance(scorer.model, NextItem):
        there[:, : max(0, there.shape[1] - scorer.model.most_read)] = False
    return there


def _size(scorer: Scorer) -> int:
    """Users that are scored at once."""
    width = len(scorer.known.range(scorer.known.target[2]))
    return max(1, min(scorer.batch_size, scorer.cells // max(1, width)))


def _mean(values: Tensor, there: Tensor) -> Tensor:
    """The mean of each row where something is there: FloatTensor [B]."""
    return (values * there).sum(1) / there.sum(1).clamp(min=1)


# ---------------------------------------------------------------------- vectors


def _fitted_falls(scorer: Scorer, had: Tensor, items: Tensor) -> Tensor:
    """The same where a user is the vector u that is best for what the user had: FloatTensor [B, L]. had: LongTensor
    [B, L], flat.

    u = A^-1 sum of v over what the user had, with A = sum of v v' over it + alpha sum of v v' over all items + ridge I.
    Without an item of vector v it is u - A^-1 v (1 - v'u) / (1 - v'A^-1 v), by Sherman and Morrison."""
    parts, start = scorer.model.linear_scorer(), scorer.known.range(scorer.known.target[2]).start
    assert parts is not None
    vector = parts.tensors["item"].float()
    all_items = ALPHA * vector.T @ vector
    found, first = torch.zeros(had.shape, device=had.device), _is_first(had) & (had != scorer.pad)
    for row, (past, listed) in enumerate(zip(had, items)):
        own, shown = vector[past[first[row]] - start], vector[listed[listed != scorer.pad] - start]
        if not len(own) or not len(shown):
            continue
        matrix = own.T @ own + all_items
        matrix.diagonal().add_(RIDGE * matrix.diagonal().mean() + LEAST)
        solved = torch.linalg.solve(matrix, torch.cat([own, own.sum(0, keepdim=True)]).T)
        share, user, mean = solved[:, :-1], solved[:, -1], shown.mean(0)
        lever = (own.T * share).sum(0).clamp(max=1 - LEAST)
        fall = (mean @ share) * (1 - own @ user) / (1 - lever)
        found[row, first[row]] = fall / (mean @ user).abs().clamp(min=LEAST)
    return found


def _cosines(scorer: Scorer, had: Tensor, items: Tensor) -> Tensor:
    """The mean cosine of each past item's vector with those of a list: FloatTensor [B, L]; 0 at a pad."""
    nodes = scorer.known.range(scorer.known.target[2])
    vector = scorer.model.node_vectors(scorer.known.target[2])
    assert vector is not None
    unit = functional.pad(functional.normalize(vector.float(), dim=1), (0, 0, 0, 1))  # a pad's is zeros

    def of(node: Tensor) -> Tensor:
        return unit[torch.where(node == scorer.pad, len(nodes), node - nodes.start)]

    number = (items != scorer.pad).sum(1).clamp(min=1)
    mean = torch.stack([of(row).sum(0) for row in items]) / number.unsqueeze(1) if len(items) else unit[:0]
    cosine = torch.stack([of(past) @ listed for past, listed in zip(had, mean)]) if len(had) else had.float()
    return cosine * _is_first(had)


# ---------------------------------------------------------------------- sentences


def sentence(kind: Kind, labels: list[str], strength: list[float], model: str) -> str | None:
    """Why a list is as it is, by the past items that count most; None where attention has nothing to look at.

    labels, strength: of all past items that count, the strongest first. model: its name.

    >>> sentence(Kind.ATTENTION, ["Alien", "Brazil"], [0.75, 0.25], "gruatt")
    'because of Alien (75 %), Brazil (25 %)'
    >>> sentence(Kind.WITHOUT, ["a", "b", "c", "d", "e"], [0.124, 0.1, 0.1, 0.1, 0.1], "ease")
    'because of a, b, c and 2 more; without a the scores fall by 12 %'
    >>> sentence(Kind.FITTED, ["a"], [0.5], "mf")
    'because of a; fitted without a the scores fall by 50 %'
    >>> sentence(Kind.COSINE, ["a", "b"], [0.75, 0.5], "mf")
    'most like a (0.75), b (0.50), by the cosine of vectors'
    """
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    first, numbers = labels[:NAMED], strength[:NAMED]
    match kind:
        case Kind.ATTENTION if labels:
            return f"because of {_listed(first, [f'{one:.0%}'.replace('%', ' %') for one in numbers])}{more}"
        case Kind.WITHOUT | Kind.FITTED if labels:
            fall, how = f"{strength[0]:.0%}".replace("%", " %"), "fitted " * (kind is Kind.FITTED)
            return f"because of {', '.join(first)}{more}; {how}without {labels[0]} the scores fall by {fall}"
        case Kind.COSINE if labels:
            return f"most like {_listed(first, [f'{one:.2f}' for one in numbers])}{more}, by the cosine of vectors"
        case Kind.NOTHING:
            return f"because of no past item: the scores of {model} do not depend on any"
        case Kind.ATTENTION:
            return None
    return "because of no past item: none raises these scores"


def _listed(labels: list[str], numbers: list[str]) -> str:
    return ", ".join(f"{label} ({number})" for label, number in zip(labels, numbers))
