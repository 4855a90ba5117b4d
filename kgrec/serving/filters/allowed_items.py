"""Which items lists may show, by the conditions that are asked for. Made once for a run, and kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.serving.filters.condition_text import Condition
from kgrec.serving.filters.fact_paths import FactPath, path_of
from kgrec.serving.filters.value_matches import matches
from kgrec.serving.list_options import ListOptions
from kgrec.serving.rules.item_rules import item_sets, rule_conditions
from kgrec.serving.rules.rule_settings import Rules
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from kgrec.serving.filters.sparql_filter import SparqlFilter

KEPT = 256  #: conditions, and combinations of them, that a run keeps


@dataclass(frozen=True, eq=False)
class Filter:
    """One thing that is asked of items."""

    said: str  #: what to call it, for messages
    mask: np.ndarray  #: bool [I], which items it leaves, by local number
    hint: str = ""  #: what to say beside the message where it leaves none
    notes: tuple[str, ...] = ()  #: what is to be said of how it was found


@dataclass(frozen=True, eq=False)
class AllowedItems:
    """The items that lists may show."""

    mask: np.ndarray  #: bool [I], by local number
    items: Tensor  #: LongTensor [n], flat, rising, where the model is
    notes: tuple[str, ...] = ()  #: what is to be said of how they were found

    def notes_on(self, k: int) -> tuple[str, ...]:
        """The notes, and one where fewer items are allowed than a list is to have."""
        if len(self.items) >= k:
            return self.notes
        short = f"the filters leave {len(self.items):,} of {len(self.mask):,} items, fewer than k = {k}"
        return (*self.notes, short)


def allowed_items(run: TrainedModel, options: ListOptions) -> AllowedItems | None:
    """The items that a list may show; None: all of them, as nothing is asked.

    Raises UnknownName for names and values that are not there, KgrecError where a condition cannot be read, where it
    leaves no item, and where the run has no facts (it was trained with --lean).
    """
    rules = options.rules if isinstance(options.rules, Rules) and options.rules.leaves_out else None
    if not options.where and not options.not_ and options.where_sparql is None and rules is None:
        return None
    query = None if options.where_sparql is None else _query(options.where_sparql)
    of_rules = None if rules is None else (rules.key, options.skip_unknown)
    key = tuple(options.where or ()), tuple(options.not_ or ()), query, of_rules

    def found() -> AllowedItems:
        by_rules = [] if rules is None else [_by_rules(run, rules, options.skip_unknown)]
        return narrowed(chain(_filters(run, options, query), *by_rules), run)

    return run.made_once("allowed items", key, found, KEPT)


def narrowed(parts: Iterable[Filter], run: TrainedModel) -> AllowedItems:
    """The items that all filters leave. Raises KgrecError where none is left, with the filter that took the last."""
    items = run.graph.range(run.graph.target[2])
    left, notes = np.ones(len(items), bool), list[str]()
    for part in parts:
        before, left = int(left.sum()), left & part.mask
        if not left.any():
            these = "items" if before == len(left) else "items that the filters before it leave"
            raise KgrecError(
                f"no item is left: {part.said} leaves out all {before:,} {these}; remove it, or ask for less{part.hint}"
            )
        notes += part.notes
    flat = torch.from_numpy(np.flatnonzero(left) + items.start).to(run.device)
    return AllowedItems(left, flat, tuple(notes))


def _filters(run: TrainedModel, options: ListOptions, query: SparqlFilter | None) -> Iterator[Filter]:
    """Each filter that is asked for."""
    node_type = run.graph.target[2]
    for text in options.where or ():
        mask = _mask(run, "where", text)
        yield Filter(f"where {text!r}", mask, "" if mask.any() else _below(run.whole_graph(), node_type, text))
    for text in options.not_ or ():
        yield Filter(f"not {text!r}", ~_mask(run, "not", text))
    if query is not None:
        mask, notes = query.meets(run.whole_graph(), node_type)
        yield Filter(query.name, mask, notes=notes)


def _by_rules(run: TrainedModel, rules: Rules, skip_unknown: bool) -> Iterator[Filter]:
    """Each rule that is a set of items."""
    target = run.graph.target[2]
    for one in item_sets(rules, run.graph.vocabulary[target], target, skip_unknown=skip_unknown):
        yield Filter(one.said, one.mask, notes=(one.note,) if one.note else ())
    if rules.price is not None or rules.freshness is not None:
        for said, text in rule_conditions(rules, run.whole_graph(), target):
            yield Filter(f"the {said} ({text})", _mask(run, said, text))


def _mask(run: TrainedModel, option: str, text: str) -> np.ndarray:
    """Which items meet a condition, bool [I]; it is the same mask whether they are wanted or left out."""
    try:
        return run.made_once("conditions", text, lambda: meets(run.whole_graph(), run.graph.target[2], text), KEPT)
    except KgrecError as error:
        raise type(error)(f"{option} {text!r}: {error}", value=error.value) from error


def meets(graph: Graph, node_type: str, text: str) -> np.ndarray:
    """Which nodes of a type meet a condition: bool [N]. One without a value meets none, `!=` neither.

    >>> import pandas as pd
    >>> made = pd.DataFrame([("tea", "Acme"), ("mug", "Umbra")], columns=["source", "target"])
    >>> graph = Graph.from_frames(edges={("item", "made_by", "brand"): made})
    >>> meets(graph, "item", "made_by=Acme").tolist(), meets(graph, "item", "brand!=Acme").tolist()
    ([True, False], [False, True])
    """
    asked, path = _read(graph, node_type, text)
    found = matches(graph, path, asked)
    met = path.back(graph, found.meets, node_type)
    return path.back(graph, found.has, node_type) & ~met if asked.operator == "!=" else met


def _read(graph: Graph, node_type: str, text: str) -> tuple[Condition, FactPath]:
    """A condition and what its name means: the first reading whose name is known."""
    first: KgrecError | None = None
    for asked in Condition.readings(text):
        try:
            return asked, path_of(graph, asked.name, node_type)
        except KgrecError as error:
            first = first or error
    assert first is not None
    raise first


def _below(graph: Graph, node_type: str, text: str) -> str:
    """A hint for a condition that no item meets, where the nodes that it ends at are above others of their type, to
    which items may be linked: how to count these too. "" where they are not."""
    asked, path = _read(graph, node_type, text)
    ends = path.ends if path.column is None and not path.hops[-1].repeated else ()
    for source, relation, target in graph.edge_types:
        if source == target and source in ends and len(ends) == 1:
            return f"; to count what is below too, say {asked.name}/{relation}*{asked.operator}{'|'.join(asked.values)}"
    return ""


def _query(where: str | Path) -> SparqlFilter:
    from kgrec.serving.filters.sparql_filter import SparqlFilter  # what reads RDF takes its time to come

    return SparqlFilter.of(where)
