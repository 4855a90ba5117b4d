"""Items like some items, in the user's own ids: by what the model has of each, its vector or its weights."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some
from kgrec.evaluation.ranking import scoring
from kgrec.graph import NO_TIME
from kgrec.serving.answers import Table, joined
from kgrec.serving.filters.allowed_items import AllowedItems, allowed_items
from kgrec.serving.input_tables import InputTable, id_list, is_one_id
from kgrec.serving.list_options import ListOptions
from kgrec.serving.new_users import NewUsers
from kgrec.serving.ranked_lists import check_k, named_items, new_lists, ranker_for
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import rich.table

CELLS = 16_777_216  #: scores that are held at once
COSINE = "cosine of vectors"
WEIGHTS = "weight column"
HISTORY = "one-item history"
NOTHING = "no vectors and no histories, by popularity"

#: of items like an item
SIMILAR = pa.schema(
    [
        ("of", pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("reason", pa.string()),
    ]
)
#: The options of lists that are asked of similar items too
TAKEN = ("k", "where", "not_", "where_sparql")
REFUSED = tuple(field.name for field in fields(ListOptions) if field.name not in TAKEN)


@dataclass(frozen=True)
class SimilarItems:
    """The items most like one, best first."""

    of: str  #: external id
    label: str  #: what to show of it
    items: list[str]  #: external ids
    labels: list[str]  #: what to show; the id where an item has no label
    scores: list[float]  #: higher is more alike
    reason: str | None  #: by what they are alike; None: there is none

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: the item, those like it with their labels and scores, and by what they are alike."""
        rows = zip(self.items, self.labels, self.scores)
        listed = [{"item": item, "label": label, "score": score} for item, label, score in rows]
        reason = {} if self.reason is None else {"reason": self.reason}
        return {"item": self.of, "label": self.label, "items": listed, **reason}

    def table(self) -> rich.table.Table:
        """A rich table to print, with ids and labels as they stand: brackets in them are no markup."""
        from kgrec.text_tables import text_table

        called = self.of if self.label == self.of else f"{self.of} {self.label}"
        by = "" if self.reason is None else f" ({self.reason})"
        table = text_table(f"like {called}{by}", ["", "item", "label"], ["score"])
        for rank, (item, label, score) in enumerate(zip(self.items, self.labels, self.scores), 1):
            table.add_row(str(rank), item, label, f"{score:.4f}")
        return table


def similar_items(run: TrainedModel, items: object, options: ListOptions) -> Table:
    """What `Run.similar` gives; see there."""
    check_k(run, options.k)
    local, allowed = _asked(run, items), allowed_items(run, options)
    if not len(local):
        return Table(SIMILAR.empty_table(), [])
    with scoring(run.model):
        alike = _likeness(run)
        if alike is None:
            return _by_history(run, local, options)
        return _nearest(run, alike, local, options.k, allowed)


def by_item(run: TrainedModel, table: Table) -> list[SimilarItems]:
    """A table of similar items as an object for each that was asked for, also for those with nothing like them."""
    vocabulary = run.graph.vocabulary[run.graph.target[2]]
    asked = list(table.users or ())
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in asked}
    for row in table:
        rows[row["of"]].append(row)
    labels = vocabulary.labels(vocabulary.find(asked)) if asked else []
    found = []
    for name, label in zip(asked, labels):
        alike, labels_of, scores = ([row[column] for row in rows[name]] for column in ("item", "label", "score"))
        reason = rows[name][0]["reason"] if rows[name] else None
        found.append(SimilarItems(name, label, alike, labels_of, scores, reason))
    return found


def _asked(run: TrainedModel, items: Any) -> Tensor:
    """Local numbers of the items that are asked for, each once, in order of first mention: LongTensor [n].

    Raises UnknownName, and KgrecError where they are in no form that is read."""
    node_type = run.graph.target[2]
    vocabulary = run.graph.vocabulary[node_type]
    if isinstance(items, str) and items == "all":
        if (vocabulary.find(["all"]) >= 0).any():
            raise KgrecError(
                "items='all' is every item, and an item of this run is called so; say ['all'] for that one"
            )
        return torch.arange(len(vocabulary))
    table = InputTable.of(items, "items")
    if table is not None:
        table.require("item")
        ids = table.ids("item").unique()
    else:
        ids = id_list([items] if is_one_id(items) else items, "items").unique()
    return vocabulary.numbers(ids, what=node_type)


# ---------------------------------------------------------------------- by vectors or weights


@dataclass(frozen=True, eq=False)
class Likeness:
    """How like each other items are, by a model."""

    reason: str  #: by what
    rows: Callable[[Tensor], Tensor]  #: local items, LongTensor [B] -> how like each item is, FloatTensor [B, I]
    is_known: Tensor  #: BoolTensor [I], of which items anything can be said
    unknown: str  #: why nothing can be said of others


def _likeness(run: TrainedModel) -> Likeness | None:
    """By the model's weights between items, else by its vectors; None: it has neither."""
    return run.made_once("likeness of items", None, lambda: _by_weights(run) or _by_cosine(run))


def _by_weights(run: TrainedModel) -> Likeness | None:
    """By how much each item counts for an item's score, as EASE and ItemKNN learned it: its column of the weights."""
    parts = run.model.linear_scorer()
    num_items = len(run.graph.range(run.graph.target[2]))
    unknown = "its weights are zero, as of what nobody in training had with another item"
    if parts is not None and parts.kind == "history_times_weights":
        weight = parts.tensors["weight"]
        return Likeness(WEIGHTS, lambda items: weight[:, items].T.contiguous(), (weight != 0).any(0), unknown)
    if parts is not None and parts.kind == "history_neighbors":
        neighbor, similarity = parts.tensors["neighbor"], parts.tensors["similarity"]

        def rows(items: Tensor) -> Tensor:
            found = similarity.new_zeros(len(items), num_items)
            return found.scatter_add_(1, neighbor[items], similarity[items])

        return Likeness(WEIGHTS, rows, (similarity != 0).any(1), unknown)
    return None


def _by_cosine(run: TrainedModel) -> Likeness | None:
    vectors = run.model.node_vectors(run.graph.target[2])
    if vectors is None:
        return None
    vectors = vectors.detach().float()
    if not vectors.isfinite().all():
        raise KgrecError(f"{run.name} has vectors that are not finite; its training may have diverged: try a lower lr")
    length = vectors.norm(dim=1)
    unit = vectors / length.clamp(min=torch.finfo(length.dtype).tiny)[:, None]
    return Likeness(
        COSINE,
        lambda items: (unit[items] @ unit.T).clamp_(-1, 1),
        length > 0,
        "its vector is zero, which is like no other",
    )


def _nearest(run: TrainedModel, alike: Likeness, local: Tensor, k: int, allowed: AllowedItems | None) -> Table:
    """The k items most like each of some items. local: LongTensor [n]."""
    is_known = alike.is_known.cpu()
    candidates = run.made_once("items by users", None, lambda: _by_users(run))
    if allowed is not None:
        candidates = candidates[torch.from_numpy(allowed.mask)[candidates]]
    without = int((~is_known[candidates]).sum()) if alike.reason == COSINE else 0
    if without:
        candidates = candidates[is_known[candidates]]
    asked = local[is_known[local]]
    parts, length = list[pa.Table](), torch.zeros(len(local), dtype=torch.long)
    for rows in asked.split(max(1, CELLS // len(is_known))):
        scores = alike.rows(rows.to(run.device)).cpu()[:, candidates]
        scores.masked_fill_(candidates == rows[:, None], -torch.inf)
        score, place = scores.sort(dim=1, descending=True, stable=True)  # of equals the more popular first
        score, place = score[:, :k], place[:, :k]
        there = score > -torch.inf
        length[torch.isin(local, rows)] = there.sum(1)
        parts.append(_table(run, rows, candidates[place], score, there, alike.reason))
    names = run.graph.vocabulary[run.graph.target[2]].ids(local)
    unknown = [name for name, known in zip(names, is_known[local].tolist()) if not known]
    notes = [f"nothing can be said of {some(unknown)}: {alike.unknown}"] if unknown else []
    notes += _short_lists([name for name in names if name not in unknown], length[is_known[local]], run, k, allowed)
    if not any(len(part) for part in parts):
        raise KgrecError("; ".join(notes))
    if without:
        notes.append(f"left out: {without:,} items with a zero vector, of which nothing can be said")
    return Table(pa.concat_tables(parts), names, None, tuple(notes))


def _short_lists(
    names: list[str], length: Tensor, run: TrainedModel, k: int, allowed: AllowedItems | None
) -> list[str]:
    """What is said of items with nothing like them, or with fewer than were asked for. length: LongTensor [n]."""
    num_items = len(run.graph.range(run.graph.target[2]))
    left = (
        f"the filters leave {len(allowed.items):,} of {num_items:,} items"
        if allowed
        else f"there are {num_items:,} items"
    )
    alone = [name for name, rows in zip(names, length.tolist()) if not rows]
    notes = [f"nothing is left to be like {some(alone)}: {left}, and none is like itself"] if alone else []
    short = int(((length < k) & (length > 0)).sum())
    if short:
        notes.append(f"{short:,} of {len(names):,} lists are shorter than k = {k}: {left}, and none is like itself")
    return notes


def _by_users(run: TrainedModel) -> Tensor:
    """Local numbers of all items, the one with the most users first: LongTensor [I]."""
    edges = run.graph.only(run.graph.target)
    count = edges.edge_index[1].bincount(minlength=len(run.graph.range(run.graph.target[2])))
    return count.argsort(descending=True, stable=True).cpu()


def _table(run: TrainedModel, of: Tensor, items: Tensor, score: Tensor, there: Tensor, reason: str) -> pa.Table:
    """Lists as rows by SIMILAR. of: LongTensor [B]; items, score, there: [B, K]; all on the CPU."""
    row, rank = there.nonzero(as_tuple=True)
    asked = run.graph.vocabulary[run.graph.target[2]].id_array.take(pa.array(of.numpy()))
    ids, labels = named_items(run, items[there])
    ranks, scores = pa.array((rank + 1).numpy(), pa.int32()), pa.array(score[there].float().numpy())
    reasons = pa.array(itertools.repeat(reason, len(row)), pa.string(), size=len(row))
    return pa.table([asked.take(pa.array(row.numpy())), ranks, ids, labels, scores, reasons], schema=SIMILAR)


# ---------------------------------------------------------------------- by a history


def _by_history(run: TrainedModel, local: Tensor, options: ListOptions) -> Table:
    """What the model ranks first for somebody who has the one item alone."""
    target = run.graph.target[2]
    names = run.graph.vocabulary[target].ids(local)
    ones = torch.ones(len(local), device=run.device)
    items = local.to(run.device) + run.graph.range(target).start
    steps = torch.arange(len(local) + 1, device=run.device)
    new = NewUsers(names, steps, items, torch.full_like(items, NO_TIME), ones, None, ())
    rows = joined(new_lists(run, ranker_for(run, options), new, options)).arrow
    number = Counter(rows["user"].to_pylist())
    length = torch.tensor([number[name] for name in names])
    notes = _short_lists(names, length, run, options.k, allowed_items(run, options))
    if not len(rows):
        raise KgrecError("; ".join(notes))
    parts = run.model.linear_scorer()
    if run.model.reads_history and (parts is None or parts.kind != "constant"):
        reasons = [HISTORY if one is None else f"{HISTORY}: {one}" for one in rows["reason"].to_pylist()]
    else:
        reasons = [NOTHING] * len(rows)
    columns = [*rows.columns[:-1], pa.array(reasons, pa.string())]
    return Table(pa.table(columns, schema=SIMILAR), names, None, tuple(notes))
