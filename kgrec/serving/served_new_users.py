"""How each new user is served: from a history that the model reads, from a vector fitted to it, from a profile, or from
popularity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kgrec.evaluation.ranking import Ranker
from kgrec.evaluation.served_by import ServedBy
from kgrec.model import Query, scoring
from kgrec.nn.added_rows import added_rows
from kgrec.nn.fold_in import Folding, NewUsersEdges
from kgrec.serving.new_users import NewUsers
from kgrec.training.trained_model import TrainedModel

SERVED = {"folded in": ServedBy.FOLDED_IN, "along the graph": ServedBy.ALONG_GRAPH}


@dataclass(frozen=True, eq=False)
class Asking:
    """Some new users as the model is asked about them. B users."""

    new: NewUsers
    row: Tensor  #: LongTensor [B], which of the new users they are
    pad: int  #: of the graph
    ranker: Ranker  #: which knows how these are served
    are_added: bool  #: whether the model knows them by flat numbers past the pad, since it reads no history

    def query(self, rows: Tensor) -> Query:
        """The query for some of these users. rows: LongTensor [n], from 0 to B - 1."""
        query = self.new.query(self.row[rows], self.pad)
        return replace(query, user=self.pad + 1 + rows) if self.are_added else query


@contextmanager
def asking(
    run: TrainedModel, ranker: Ranker, new: NewUsers, row: Tensor, folding: Folding | None = None
) -> Iterator[Asking]:
    """The model knows some new users while this lasts, in this thread. row: LongTensor [B], which they are; folding:
    what makes their vectors; None: the run's own."""
    folding, pad = run.folding if folding is None else folding, run.graph.pad
    if folding is None:
        yield Asking(new, row, pad, ranker, False)
        return
    edges = _edges(new, row, ranker.served.known_items)
    with scoring(run.model):
        vectors = folding.vectors(edges)
    served = _served(folding, edges, new.length[row] > 0)
    with added_rows(pad + 1, vectors):
        yield Asking(new, row, pad, ranker.with_added(pad + 1, served), True)


def _edges(new: NewUsers, row: Tensor, known_items: Tensor) -> NewUsersEdges:
    """What users did with items that the model knows, each item once. row: LongTensor [B]; known_items: BoolTensor
    [N + 1]."""
    number = new.length[row]
    user = torch.arange(len(row), device=row.device).repeat_interleave(number)
    place = torch.arange(len(user), device=row.device) - (number.cumsum(0) - number)[user] + new.ptr[row][user]
    item, width = new.item[place], len(known_items)
    pair = user * width + item
    order = pair.argsort(stable=True)
    is_last = torch.ones_like(pair, dtype=torch.bool)
    is_last[order[:-1]] = pair[order[1:]] != pair[order[:-1]]  # of an item that stands twice the last row counts
    kept = is_last & known_items[item]
    counts = torch.bincount(user[kept], minlength=len(row))
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    profile = {name: feature.take(row.cpu()) for name, feature in new.profile.items()}
    return NewUsersEdges(ptr, item[kept], new.weight[place][kept] if new.has_weights else None, profile)


def _served(folding: Folding, edges: NewUsersEdges, has_history: Tensor) -> Tensor:
    """A ServedBy for each user: CharTensor [B]. has_history: BoolTensor [B], whether anything is said to be done."""
    found = torch.where(has_history, int(ServedBy.UNTRAINED), int(ServedBy.POPULARITY)).to(torch.int8)
    if folding.how is None:
        found[edges.number > 0] = ServedBy.UNREAD
    for name in folding.columns:
        if name in edges.profile:
            found[~edges.profile[name].missing.to(found.device)] = ServedBy.PROFILE
    if folding.how is not None:
        found[edges.number > 0] = SERVED[folding.how]
    return found
