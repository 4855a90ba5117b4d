"""Items that a graph does not have yet: rows or facts about them, read by the recipe that the graph was made by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from kgrec.errors import Fault, KgrecError
from kgrec.graph import Graph
from kgrec.sources.building.attached_items import AttachedItems, NamedSource, NewItems, plain_messages
from kgrec.sources.building.new_item_facts import (
    FactSource,
    facts_of_file,
    facts_of_rdf_graph,
    facts_of_table,
    facts_of_triples,
    place_item_facts,
)
from kgrec.sources.building.new_item_rows import (
    column_names,
    edge_list_of,
    item_tables,
    place_item_edges,
    place_item_rows,
)
from kgrec.sources.rdf.rdf_file import format_of
from kgrec.sources.recipe.recipe import Recipe

IN_MEMORY = "the new items"  #: what rows and facts that are in no file are called in messages


def read_new_items(graph: Graph, recipe: Recipe, sources: Sequence[Any], *, skip_unknown: bool = False) -> NewItems:
    """The new items of some sources, by the recipe that the graph was made by.

    sources: each the Path of a file (RDF by its suffix, a table of triples or an edge list where it has the columns of
    one, else rows of the item table), an Arrow table of such rows, a list of triples, or an rdflib graph; what several
    say of one item is put together. graph: with features. skip_unknown: leave out columns that the recipe does not read
    and items of which nothing is known.

    Raises KgrecError and BadData where a source cannot be read or says nothing of new items, for ids that are known and
    for items of which the graph knows nothing; UnknownName for a column that the recipe does not read.
    """
    names = [_name(source) for source in sources]
    with TemporaryDirectory() as folder, plain_messages():
        items = AttachedItems(graph, recipe, ", ".join(names), skip_unknown=skip_unknown)
        facts = [
            found
            for source, name in zip(sources, names)
            for found in _rows_or_facts(items, NamedSource(source, name, Path(folder)))
        ]
        if facts:
            place_item_facts(items, facts)
        return items.finished()


def _name(source: Any) -> str:
    """What a source is called in messages. Raises KgrecError for a file that is not there."""
    if not isinstance(source, Path):
        return IN_MEMORY
    if not source.is_file():
        what = "is not a file" if source.exists() else "does not exist"
        message = f"{what}; give a table of new items, or RDF about them"
        raise KgrecError(Fault(message, str(source), kind="missing file", file_is="subject"))
    return str(source)


def _rows_or_facts(items: AttachedItems, source: NamedSource) -> list[FactSource]:
    """Places rows, and gives facts, which are placed together."""
    tables, given = item_tables(items.recipe, items.item), source.content
    if isinstance(given, Path) and format_of(given) is not None and not any(table.query for table in tables):
        return facts_of_file(items, source)
    if isinstance(given, Path | pa.Table):
        names = column_names([*tables, *items.recipe.triples], source)
        for table in items.recipe.triples:
            if {table.head, table.relation, table.tail} <= {*names}:
                return facts_of_table(items, source, table)
        edges = edge_list_of(items, names) if not any(table.id in names for table in tables) else None
        if edges is not None:
            place_item_edges(items, source, *edges)
        else:
            place_item_rows(items, source, names)
        return []
    return facts_of_triples(items, source) if isinstance(given, Sequence) else facts_of_rdf_graph(items, source)
