"""Items that a graph does not have yet: rows or facts about them, read by the recipe that the graph was made by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.errors import Fault, KgrecError
from kgrec.graph import Graph
from kgrec.sources.building.attached_items import AttachedItems, NewItems, plain_messages
from kgrec.sources.building.new_item_facts import (
    facts_of_file,
    facts_of_rdf_graph,
    facts_of_table,
    facts_of_triples,
    place_item_facts,
)
from kgrec.sources.building.new_item_rows import column_names, item_tables, place_item_rows
from kgrec.sources.rdf.rdf_file import format_of
from kgrec.sources.recipe.recipe import Recipe

IN_MEMORY = "the new items"  #: what rows and facts that are in no file are called in messages


def read_new_items(graph: Graph, recipe: Recipe, source: Any, *, skip_unknown: bool = False) -> NewItems:
    """The new items of a source, by the recipe that the graph was made by.

    source: the Path of a file (RDF by its suffix, a table of triples where it has the columns of one, else rows of the
    item table), an Arrow table of such rows, a list of triples, or an rdflib graph. graph: with features. skip_unknown:
    leave out columns that the recipe does not read and items of which nothing is known.

    Raises KgrecError and BadData where the source cannot be read or says nothing of new items, for ids that are known
    and for items of which the graph knows nothing; UnknownName for a column that the recipe does not read.
    """
    if isinstance(source, Path) and not source.is_file():
        what = "is not a file" if source.exists() else "does not exist"
        message = f"{what}; give a table of new items, or RDF about them"
        raise KgrecError(Fault(message, str(source), kind="missing file", file_is="subject"))
    name = str(source) if isinstance(source, Path) else IN_MEMORY
    with TemporaryDirectory() as folder, plain_messages():
        place = Path() if isinstance(source, Path) else Path(folder)
        if isinstance(source, pa.Table):
            pq.write_table(source, place / name)
        items = AttachedItems(graph, recipe, place, name, skip_unknown=skip_unknown)
        _place(items, place, source)
        return items.finished()


def _place(items: AttachedItems, folder: Path, source: Any) -> None:
    tables = item_tables(items.recipe, items.item)
    is_file = isinstance(source, Path)
    if is_file and format_of(source) is not None and not any(table.query for table in tables):
        place_item_facts(items, facts_of_file(items, folder))
    elif is_file or isinstance(source, pa.Table):
        names = column_names([*tables, *items.recipe.triples], folder, items.name, is_file=is_file)
        for table in items.recipe.triples:
            if {table.head, table.relation, table.tail} <= {*names}:
                place_item_facts(items, facts_of_table(items, folder, table, is_file=is_file))
                return
        place_item_rows(items, folder, names, is_file=is_file)
    elif isinstance(source, Sequence):
        place_item_facts(items, facts_of_triples(items, source))
    else:
        place_item_facts(items, facts_of_rdf_graph(items, source))
