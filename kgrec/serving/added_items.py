"""A run that knows new items: rows or facts about them onto its graph, and who can rank them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import torch
from pydantic import ValidationError
from torch import Tensor

from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.evaluation.served_users import ServedUsers
from kgrec.evaluation.trained_nodes import Trained, reads_all_edges
from kgrec.nn.embedding import NodeEmbedding
from kgrec.rows import NodeRows, rows_of
from kgrec.serving.extended_run import extended_run
from kgrec.serving.input_tables import InputTable
from kgrec.sources.building.attached_items import MOST
from kgrec.sources.building.new_items import IN_MEMORY, read_new_items
from kgrec.sources.recipe.recipe import Recipe
from kgrec.training.trained_model import TrainedModel

AnyRun = TypeVar("AnyRun", bound=TrainedModel)

WANTED = "give a path, several paths, a table of rows, a list of (subject, predicate, object), or an rdflib graph"
ADVICE = "kgat and kgatseq know items by facts; mf, sasrec, gru4rec and lightgcn by columns, trained with features=all"


def run_with_items(run: AnyRun, items: Any, *, skip_unknown: bool = False) -> AnyRun:
    """What `Run.with_items` gives; see there."""
    graph, sources = run.whole_graph(), _sources(items)
    _must_have_vectors(run)
    if graph.recipe is None:
        raise KgrecError(
            "this run's graph was made without a recipe, so nothing says what the columns of new items mean; build the "
            "graph by a recipe (`kgrec build`) and train again"
        )
    found = read_new_items(graph, _recipe(graph.recipe), sources, skip_unknown=skip_unknown)
    more, notes = extended_run(run, found.nodes, found.edges)
    _must_know(more, len(found.ids))
    return replace(more, notes=(*run.notes, *found.notes, *notes))


def _sources(items: Any) -> list[Any]:
    """New items as `read_new_items` takes them. Raises KgrecError for what is none of its forms."""
    if isinstance(items, str | Path):
        return [Path(items)]
    if isinstance(items, Mapping):
        columns = {str(name): values for name, values in items.items()}
        if any(isinstance(values, str) or not hasattr(values, "__len__") for values in columns.values()):
            raise KgrecError(f"a mapping of new items must hold a column under each name; or {WANTED}")
        return [InputTable(columns, IN_MEMORY, list(columns)).to_arrow()]
    table = InputTable.of(items, IN_MEMORY)
    if table is not None:
        for name in table.names:
            table.require(name)
        return [table.to_arrow()]
    if type(items).__module__.partition(".")[0] == "rdflib" and hasattr(items, "triples"):
        return [items]
    if isinstance(items, bytes) or not isinstance(items, Iterable):
        raise KgrecError(f"new items are {type(items).__name__}; {WANTED}")
    return _listed(list(items))


def _listed(items: list[Any]) -> list[Any]:
    """The same of a list: of paths, of mappings, or of triples."""
    if not items:
        raise KgrecError(f"new items are an empty list; {WANTED}")
    if all(isinstance(one, str | Path) for one in items):
        return [Path(one) for one in items]
    if all(isinstance(one, Mapping) for one in items):
        names = list(dict.fromkeys(str(name) for one in items for name in one))
        return [InputTable({name: [one.get(name) for one in items] for name in names}, IN_MEMORY, names).to_arrow()]
    for row, one in enumerate(items, 1):
        if not isinstance(one, tuple | list) or len(one) != 3:
            raise BadData(Fault(f"{one!r} is no triple; {WANTED}", IN_MEMORY, row, kind="bad row", unit="entry"))
        if any(term is None or term == "" for term in one):
            message = f"{one!r} has an empty term; a subject, a predicate and an object are needed"
            raise BadData(Fault(message, IN_MEMORY, row, kind="missing value", unit="entry"))
    return [items]


def _recipe(kept: Mapping[str, Any]) -> Recipe:
    """The recipe that a graph keeps. Raises KgrecError for one that this version cannot read."""
    try:
        return Recipe.model_validate(dict(kept))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise KgrecError(
            f"the recipe that this run keeps (recipe.json) is altered or of another version of kgrec: {where}: "
            f"{first['msg']}; build the graph again and train again"
        ) from error


def _must_have_vectors(run: TrainedModel) -> None:
    """Raise KgrecError for a model that knows items by nothing but who had them."""
    with scoring(run.model):
        vectors = run.model.node_vectors(run.graph.target[2])
    if vectors is None:
        raise KgrecError(
            f"{run.name} cannot rank new items: it knows items by their ids alone, from who had them; {ADVICE}"
        )


def _must_know(run: TrainedModel, count: int) -> None:
    """Raise BadData for items among the last `count` of which the model reads nothing, with what it does read."""
    item = run.graph.target[2]
    with scoring(run.model):
        vectors = run.model.node_vectors(item)
    assert vectors is not None
    has_vector, is_read = vectors[-count:].any(1).cpu(), _read(run, count)
    # the layers of a graph network give a node without edges a vector too
    known = has_vector & is_read if reads_all_edges(run.model) else has_vector
    if known.all():
        return
    columns, by_facts = _read_columns(run), _reads_facts(run)
    ids = run.graph.vocabulary[item].id_array[-count:].filter(pa.array((~known).numpy())).to_pylist()
    if not columns and not by_facts:
        raise KgrecError(
            f"{run.name} as it was trained cannot rank new items: it knows items by their ids alone, from who had "
            f"them; {ADVICE}"
        )
    if columns and not by_facts and bool((is_read & ~known).any()):
        raise KgrecError(
            f"{run.name} cannot rank new items: it makes an item's vector of the users around it, and these have none; "
            f"{ADVICE}"
        )
    reads = [*(["facts about items"] if by_facts else []), *([f"the columns {some(columns, 20)}"] if columns else [])]
    what = f"it reads {' and '.join(reads)}, and these say nothing of the item that it learned from"
    faults = [
        f"{item} {name!r} cannot be ranked by {run.name}: {what}; give it some that other items have" for name in ids
    ]
    more = [f"and {len(ids) - MOST:,} more"] if len(ids) > MOST else []
    raise BadData([*faults[:MOST], *more], value=ids[0], kind="unknown item")


def _read(run: TrainedModel, count: int) -> Tensor:
    """Which of the last items have an edge or a column that the model reads: BoolTensor [count]."""
    with torch.no_grad():
        trained = run.trained or Trained(run.graph, run.model)
        known = ServedUsers(Scorer(run.model, run.graph), trained).known_items
    return known[run.graph.nodes(run.graph.target[2])[-count:].to(known.device)].cpu()


def _read_columns(run: TrainedModel) -> list[str]:
    """The columns of items that the model's tables read."""
    tables = [table.features for table in run.model.modules() if isinstance(table, NodeEmbedding)]
    pairs = [pair for features in tables if features is not None for pair in features.names]
    names = [name for node_type, name in pairs if node_type == run.graph.target[2]]
    return list(dict.fromkeys(names))


def _reads_facts(run: TrainedModel) -> bool:
    """Whether the model makes the vectors of items of all edges around them."""
    computed = [rows for rows in rows_of(run.model).values() if isinstance(rows, NodeRows) and rows.computed]
    return reads_all_edges(run.model) and any(run.graph.target[2] in rows.counts for rows in computed)
